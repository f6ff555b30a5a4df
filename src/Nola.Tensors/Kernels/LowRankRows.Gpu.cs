namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    // One term after the other, as products.
    private protected override void AddLowRankCore(Matrix x, Matrix y, IReadOnlyList<LowRankTerm> terms)
    {
        foreach (LowRankTerm t in terms)
        {
            using Tensor u = Empty([t.Count, t.A.Columns]);
            MatMul(x.SliceRows(t.First, t.Count), false, t.A, false, u);
            MatMul(u, false, t.B, false, y.SliceRows(t.First, t.Count).SliceColumns(t.Column, t.B.Columns), t.Scale, 1);
        }
    }
}
