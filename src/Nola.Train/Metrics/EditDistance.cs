using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>
/// Levenshtein's distance from one sequence to many others: a column of the table as the bits of its differences, a step as
/// a dozen operations on words of 64 bits (Myers 1999, Hyyrö 2003). The table is made 64 rows at a time, so that memory grows with
/// the lengths and not with their product.
/// </summary>
internal sealed class EditDistance
{
    private const int Bits = 64;

    private readonly int[] sequence;
    private readonly ulong[] places;        // of each symbol: where these 64 rows have it
    private sbyte[] rises = [];             // of the row above: by how much each column is more than the one before

    /// <summary>Distances to a sequence.</summary>
    /// <param name="sequence">The one.</param>
    /// <param name="symbols">All symbols, of the others too, are below this.</param>
    public EditDistance(int[] sequence, int symbols)
    {
        this.sequence = sequence;
        places = new ulong[symbols];
    }

    /// <summary>What a distance to so many symbols costs: each beside 64 of the sequence.</summary>
    public long Steps(int symbols) => (long)symbols * ((sequence.Length + Bits - 1) / Bits);

    /// <summary>Insertions, deletions and substitutions between the sequence and another.</summary>
    public int To(ReadOnlySpan<int> other)
    {
        if (rises.Length < other.Length) rises = new sbyte[other.Length];
        Span<sbyte> row = rises.AsSpan(0, other.Length);
        // The first row rises by one with each column.
        row.Fill(1);
        for (int start = 0; start < sequence.Length; start += Bits)
        {
            ReadOnlySpan<int> rows = sequence.AsSpan(start, Math.Min(Bits, sequence.Length - start));
            for (int i = 0; i < rows.Length; i++) places[rows[i]] |= 1UL << i;
            Descend(other, row, rows.Length - 1);
            foreach (int symbol in rows) places[symbol] = 0;
        }
        int distance = sequence.Length;
        foreach (sbyte rise in row) distance += rise;
        return distance;
    }

    // From the differences of the row above some rows to those of the last of them.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Descend(ReadOnlySpan<int> other, Span<sbyte> row, int last)
    {
        // Where the next entry of the column is larger, and where it is smaller.
        ulong up = ulong.MaxValue, down = 0;
        for (int i = 0; i < other.Length; i++)
        {
            ulong equal = places[other[i]], rising = row[i] > 0 ? 1UL : 0, falling = row[i] < 0 ? 1UL : 0;
            ulong vertical = equal | down;
            equal |= falling;
            ulong horizontal = (((equal & up) + up) ^ up) | equal;
            ulong right = down | ~(horizontal | up), left = up & horizontal;
            row[i] = (sbyte)((int)(right >> last & 1) - (int)(left >> last & 1));
            right = (right << 1) | rising;
            left = (left << 1) | falling;
            up = left | ~(vertical | right);
            down = right & vertical;
        }
    }
}
