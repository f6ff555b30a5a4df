namespace Nola.Tensors;

/// <summary>A short proof that regenerated bases are the ones that were trained with; stands in every adapter file.</summary>
internal static class BasisFingerprint
{
    /// <summary>
    /// FNV-1a (64 bits) over the little-endian float32 bits of the first min(64, size) entries of matrix 0 and of matrix
    /// k − 1 of each basis, in the given order. 16 lower-case hex digits.
    /// </summary>
    public static string Of(IEnumerable<RandomBasis> bases)
    {
        IEnumerable<float> Entries(RandomBasis basis, uint index) =>
            Enumerable.Range(0, Math.Min(64, basis.Size)).Select(e => basis.Entry(index, e));

        return Of(bases.SelectMany(basis => Entries(basis, 0).Concat(Entries(basis, (uint)basis.Count - 1))));
    }

    /// <summary>The same hash over the first 64 entries of each of two matrices.</summary>
    public static string Of(float[] a, float[] b) => Of(a.Take(64).Concat(b.Take(64)));

    /// <summary>The same hash over some entries.</summary>
    public static string Of(IEnumerable<float> entries)
    {
        ulong hash = 0xCBF29CE484222325;
        foreach (float entry in entries)
        {
            uint bits = BitConverter.SingleToUInt32Bits(entry);
            for (int b = 0; b < 32; b += 8) hash = (hash ^ ((bits >> b) & 0xFF)) * 0x100000001B3;
        }
        return hash.ToString("x16");
    }
}
