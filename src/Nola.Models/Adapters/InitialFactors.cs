using Nola.Tensors;

namespace Nola.Models;

/// <summary>A₀ and LoRA's initial A: uniform in ±1/√in, a pure function of the seed (docs/basis.md).</summary>
internal static class InitialFactors
{
    /// <summary>The stacked matrices of the adapted layers. (L, in, r), row-major.</summary>
    public static float[] Uniform(ulong seed, MapGroup group, int rank) => Uniform(seed, group.Layers, group.Stream, group.In, rank);

    /// <summary>The same by layers, the number of the kind of map, and its inputs.</summary>
    public static float[] Uniform(ulong seed, int[] layers, int stream, int inputs, int rank)
    {

        float[] stacked = new float[layers.Length * inputs * rank];
        float bound = 1 / MathF.Sqrt(inputs);
        for (int i = 0; i < layers.Length; i++)
        {
            RandomBasis basis = new(seed, RandomBasis.StreamOf(stream, 0), (uint)layers[i] + 1, 1, inputs, rank, BasisEntries.Uniform);
            Span<float> part = stacked.AsSpan(i * inputs * rank, inputs * rank);
            basis.Fill(RandomBasis.OffsetIndex, part);
            foreach (ref float entry in part) entry *= bound;
        }
        return stacked;
    }
}
