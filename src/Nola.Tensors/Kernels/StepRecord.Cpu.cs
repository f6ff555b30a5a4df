namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void AddLossCore(Tensor loss, Tensor record, int step, float beta)
    {
        double* own = Doubles(record) + 2 * step;
        own[0] = Floats(loss)[0] + (beta == 0 ? 0 : own[0]);
    }

    private protected override void ClipScaleCore(ReadOnlySpan<Tensor> gradients, float limit, Tensor record, int step, Tensor scale)
    {
        double* own = Doubles(record) + 2 * step;
        double norm = own[1] = Math.Sqrt(SumSquares(gradients));
        float* factor = Floats(scale);
        if (float.IsNaN(factor[0]) || !double.IsFinite(own[0]) || !double.IsFinite(norm)) factor[0] = float.NaN;
        else factor[0] = limit > 0 && norm > limit ? (float)(limit / norm) : 1;
    }
}
