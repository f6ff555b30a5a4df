namespace Nola.Tensors;

/// <summary>A short proof that regenerated bases are the ones that were trained with; stands in every adapter file.</summary>
public static class BasisFingerprint
{
    /// <summary>
    /// FNV-1a (64 bits) over the little-endian float32 bits of the first min(64, size) entries of matrix 0 and of matrix
    /// k − 1 of each basis, in the given order. 16 lower-case hex digits.
    /// </summary>
    public static string Of(IEnumerable<RandomBasis> bases)
    {
        ulong hash = 0xCBF29CE484222325;
        foreach (RandomBasis basis in bases)
        {
            foreach (uint index in (ReadOnlySpan<uint>)[0, (uint)basis.Count - 1])
            {
                for (int e = 0; e < Math.Min(64, basis.Size); e++)
                {
                    uint bits = BitConverter.SingleToUInt32Bits(basis.Entry(index, e));
                    for (int b = 0; b < 32; b += 8) hash = (hash ^ ((bits >> b) & 0xFF)) * 0x100000001B3;
                }
            }
        }
        return hash.ToString("x16");
    }
}
