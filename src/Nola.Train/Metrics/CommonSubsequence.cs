using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>
/// The length of the longest common subsequence: a column of its table as the bits of its differences (Crochemore et al. 2001,
/// Hyyrö 2004), 64 rows at a time.
/// </summary>
internal static class CommonSubsequence
{
    private const int Bits = 64;

    /// <summary>The length for two sequences of words.</summary>
    public static int Length(string[] a, string[] b)
    {
        NGramTable numbers = new();
        int[] rows = numbers.Words(a), columns = numbers.Words(b);
        ulong[] places = new ulong[a.Length + b.Length];
        // Of the row above: whether the next row takes a one from it in that column.
        byte[] carries = new byte[columns.Length];
        int length = 0;
        for (int start = 0; start < rows.Length; start += Bits)
        {
            ReadOnlySpan<int> some = rows.AsSpan(start, Math.Min(Bits, rows.Length - start));
            for (int i = 0; i < some.Length; i++) places[some[i]] |= 1UL << i;
            length += Descend(places, columns, carries, some.Length);
            foreach (int word in some) places[word] = 0;
        }
        return length;
    }

    // How much longer the subsequence gets by some rows.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int Descend(ulong[] places, int[] columns, byte[] carries, int rows)
    {
        // A zero where the entry is more than the one above it.
        ulong level = ulong.MaxValue;
        for (int i = 0; i < columns.Length; i++)
        {
            ulong both = level & places[columns[i]], sum = level + both, carried = sum + carries[i];
            carries[i] = sum < level || carried < sum ? (byte)1 : (byte)0;
            level = carried | (level - both);
        }
        ulong used = rows == Bits ? ulong.MaxValue : (1UL << rows) - 1;
        return System.Numerics.BitOperations.PopCount(~level & used);
    }
}
