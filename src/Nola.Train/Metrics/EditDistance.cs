using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>
/// Levenshtein's distance from one sequence to many others: a column of the table as the bits of its differences, a step as
/// a dozen operations on words of 64 bits (Myers 1999, Hyyrö 2003).
/// </summary>
internal sealed class EditDistance
{
    private const int Bits = 64;

    private readonly int length, blocks;
    private readonly ulong[] places;            // symbol × block: where the sequence has the symbol
    private readonly ulong[] rises, falls;      // of the column: where the next entry is larger, smaller

    /// <summary>Distances to <paramref name="sequence"/>, whose symbols are below <paramref name="symbols"/>.</summary>
    public EditDistance(int[] sequence, int symbols)
    {
        length = sequence.Length;
        blocks = (length + Bits - 1) / Bits;
        places = new ulong[symbols * blocks];
        (rises, falls) = (new ulong[blocks], new ulong[blocks]);
        for (int i = 0; i < length; i++) places[sequence[i] * blocks + i / Bits] |= 1UL << (i % Bits);
    }

    /// <summary>Insertions, deletions and substitutions between the sequence and another.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public int To(ReadOnlySpan<int> other)
    {
        Array.Fill(rises, ulong.MaxValue);
        Array.Clear(falls);
        int distance = length;
        foreach (int symbol in other)
        {
            // The first row rises by one with each column.
            ulong rising = 1, falling = 0;
            for (int block = 0; block < blocks; block++)
            {
                ulong last = block == blocks - 1 ? 1UL << ((length - 1) % Bits) : 1UL << (Bits - 1);
                Step(block, places[symbol * blocks + block], last, ref rising, ref falling);
            }
            distance += (int)rising - (int)falling;
        }
        return distance;
    }

    // In and out: whether the row above and the block's last row rise or fall from the previous column to this one.
    private void Step(int block, ulong equal, ulong last, ref ulong rising, ref ulong falling)
    {
        ulong up = rises[block], down = falls[block];
        ulong vertical = equal | down;
        equal |= falling;
        ulong horizontal = (((equal & up) + up) ^ up) | equal;
        ulong right = down | ~(horizontal | up), left = up & horizontal;
        ulong rises1 = (right & last) != 0 ? 1UL : 0, falls1 = (left & last) != 0 ? 1UL : 0;
        right = (right << 1) | rising;
        left = (left << 1) | falling;
        rises[block] = left | ~(vertical | right);
        falls[block] = right & vertical;
        (rising, falling) = (rises1, falls1);
    }
}
