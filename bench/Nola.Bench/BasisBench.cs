using Nola.Tensors;

namespace Nola.Bench;

/// <summary>The random basis inside its product, both directions.</summary>
internal static class BasisBench
{
    public static void Run(Bench bench)
    {
        CpuDevice device = bench.Device;
        const int K = 512, Rows = 768, Cols = 8;
        bench.Section(
            $"Mixing {K} matrices of {Rows} × {Cols}, generated inside the product", "entries", "layers", "w = α·basis", "dα = dw·basisᵀ");
        foreach (BasisEntries entries in Enum.GetValues<BasisEntries>())
        {
            RandomBasis basis = new(42, 0, 0, K, Rows, Cols, entries);
            foreach (int layers in (int[])[1, 12, 48])
            {
                float[] alpha = Bench.Values(layers * K);
                using Tensor coefficients = device.From(alpha, [layers, K]);
                using Tensor w = device.Empty([layers, Rows, Cols]), dc = device.Empty([layers, K]);
                device.BasisMix(basis, coefficients, w);
                Verify(basis, alpha, w.ToArray(), layers);
                Timing[] t = bench.Time([() => device.BasisMix(basis, coefficients, w), () => device.BasisMixGrad(basis, w, dc)]);
                bench.Row($"{entries}".ToLowerInvariant(), $"{layers}", Cell(t[0], basis), Cell(t[1], basis));
            }
        }

        static string Cell(Timing t, RandomBasis basis) =>
            $"{t.Median * 1e3:F2} ms, {(double)basis.Count * basis.Size / t.Median / 1e9:F1} G entries/s";
    }

    private static void Verify(RandomBasis basis, float[] alpha, float[] w, int layers)
    {
        double[] expected = new double[basis.Size];
        float[] matrix = new float[basis.Size];
        for (int i = 0; i < basis.Count; i++)
        {
            basis.Fill((uint)i, matrix);
            for (int e = 0; e < matrix.Length; e++) expected[e] += (double)alpha[(layers - 1) * basis.Count + i] * matrix[e];
        }
        for (int e = 0; e < matrix.Length; e++)
            Bench.Require(Math.Abs(expected[e] - w[(layers - 1) * basis.Size + e]) < 1e-4, "a mixed matrix");
    }
}
