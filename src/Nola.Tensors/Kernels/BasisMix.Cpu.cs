namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    // Generated entries that exist at once on a thread: 64 Ki floats, a quarter of the second-level cache.
    private const int GeneratedTile = 65536;

    private protected override void BasisMixCore(
        RandomBasis basis, Tensor coefficients, Tensor w, int row, int rows, float scale, float beta)
    {
        int k = basis.Count, size = basis.Size, width = Gemm.PanelWidth;
        int across = Math.Max(512, basis.GroupSize), deep = GeneratedTile / across;
        float* c = Floats(coefficients) + (long)row * k, to = Floats(w) + (long)row * size;
        // w (rows, size) = c (rows, k) · basis (k, size): split by entries, summed over matrices in order.
        team.For(size, across, (start, end) =>
        {
            float* panels = Scratch.Floats(GeneratedTile);
            for (int i = 0; i < k; i += deep)
            {
                int count = Math.Min(deep, k - i);
                BasisPanels.Entries(basis, i, count, start, end - start, panels, width);
                Gemm.Block(
                    rows, end - start, count, new(c + i, k, 1), panels,
                    (long)count * width, to + start, size, scale, null, i > 0 || beta != 0);
            }
        });
    }

    private protected override void BasisMixGradCore(
        RandomBasis basis, Tensor dw, Tensor dcoefficients, int row, int rows, float scale, float beta)
    {
        int k = basis.Count, size = basis.Size, width = Gemm.PanelWidth, across = Math.Max(16, width);
        int deep = Math.Max(512, basis.GroupSize);
        float* from = Floats(dw) + (long)row * size, to = Floats(dcoefficients) + (long)row * k;
        // dc (rows, k) = dw (rows, size) · basisᵀ (size, k): split by matrices, summed over entries in order.
        team.For(k, across, (start, end) =>
        {
            float* panels = Scratch.Floats((long)deep * across);
            for (int e = 0; e < size; e += deep)
            {
                int count = Math.Min(deep, size - e);
                BasisPanels.Bases(basis, start, end - start, e, count, panels, width, count);
                Gemm.Block(
                    rows, end - start, count, new(from + e, size, 1), panels,
                    (long)count * width, to + start, k, scale, null, e > 0 || beta != 0);
            }
        });
    }
}
