using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A₀ and LoRA's initial A: uniform in ±1/√in, a pure function of the seed (docs/basis.md). On the token embedding it is B that does
/// not start at zero: B₀ uniform in ±1/√out, and LoRA's initial B normal.
/// </summary>
internal static class InitialFactors
{
    /// <summary>B₀ of the token embedding. (1, r, out), row-major.</summary>
    public static float[] UniformB(ulong seed, MapGroup group, int rank)
    {
        float[] entries = Entries(seed, group, rank, BasisEntries.Uniform);
        float bound = 1 / MathF.Sqrt(group.Out);
        foreach (ref float entry in entries.AsSpan()) entry *= bound;
        return entries;
    }

    /// <summary>LoRA's initial B of the token embedding. (1, r, out), row-major.</summary>
    public static float[] Normal(ulong seed, MapGroup group, int rank) => Entries(seed, group, rank, BasisEntries.Normal);

    /// <summary>The stacked matrices of the adapted layers. (L, in, r), row-major.</summary>
    public static float[] Uniform(ulong seed, MapGroup group, int rank) => Uniform(seed, group.Layers, group.Stream, group.In, rank);

    /// <summary>The same by layers, the number of the kind of map, and its inputs; or of its other factor, by that one's rows.</summary>
    public static float[] Uniform(ulong seed, int[] layers, int stream, int inputs, int rank, int factor = 0)
    {
        float[] stacked = new float[layers.Length * inputs * rank];
        float bound = 1 / MathF.Sqrt(inputs);
        for (int i = 0; i < layers.Length; i++)
        {
            RandomBasis basis = new(
                seed, RandomBasis.StreamOf(stream, factor), (uint)layers[i] + 1, 1, inputs, rank, BasisEntries.Uniform);
            Span<float> part = stacked.AsSpan(i * inputs * rank, inputs * rank);
            basis.Fill(RandomBasis.OffsetIndex, part);
            foreach (ref float entry in part) entry *= bound;
        }
        return stacked;
    }

    private static float[] Entries(ulong seed, MapGroup group, int rank, BasisEntries entries)
    {
        RandomBasis basis = new(seed, RandomBasis.StreamOf(group.Stream, 1), (uint)group.Layers[0] + 1, 1, rank, group.Out, entries);
        float[] values = new float[basis.Size];
        basis.Fill(RandomBasis.OffsetIndex, values);
        return values;
    }
}
