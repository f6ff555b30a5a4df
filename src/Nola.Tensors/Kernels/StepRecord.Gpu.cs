using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void AddLossCore(Tensor loss, Tensor record, int step, float beta) =>
        Launch(StepRecordKernels.AddLoss, new(1), Floats(loss), Doubles(record), step, beta);

    private protected override void ClipScaleCore(ReadOnlySpan<Tensor> gradients, float limit, Tensor record, int step, Tensor scale)
    {
        using Tensor squares = SquaresOfPieces(gradients);
        Launch(StepRecordKernels.ClipScale, new(1), Doubles(squares), Doubles(record), Floats(scale), step, limit);
    }
}

/// <summary>Single numbers: one block, and what they need of many is summed before.</summary>
internal static class StepRecordKernels
{
    [Kernel(32)]
    public static void AddLoss(ArrayView<float> loss, ArrayView<double> record, int step, float beta)
    {
        if (Group.IdxX == 0) record[2 * step] = loss[0] + (beta == 0 ? 0 : record[2 * step]);
    }

    [Kernel(256, AnyWarps = true)]
    public static void ClipScale(ArrayView<double> squares, ArrayView<double> record, ArrayView<float> scale, int step, float limit)
    {
        double sum = 0;
        for (int i = Group.IdxX; i < squares.IntLength; i += Group.DimX) sum += squares[i];
        sum = ReduceKernels.BlockSum(sum);
        if (Group.IdxX != 0) return;
        double loss = record[2 * step], norm = Math.Sqrt(sum);
        record[2 * step + 1] = norm;
        bool finite = IsFinite(loss) && IsFinite(norm) && scale[0] >= 0;
        scale[0] = !finite ? float.NaN : limit > 0 && norm > limit ? (float)(limit / norm) : 1;
    }

    private static bool IsFinite(double x) => x >= double.MinValue && x <= double.MaxValue;
}
