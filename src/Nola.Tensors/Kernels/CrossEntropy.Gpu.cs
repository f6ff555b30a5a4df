using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    // Rows of logits that exist at once: enough to fill a large card, in about 128 MB.
    private int LogitRows(int vocabulary) => Math.Clamp(logitFloats / vocabulary / 16 * 16, 16, 2048);

    private protected override void HeadCrossEntropyCore(
        Tensor x, FrozenMatrix head, Tensor targets, float labelSmoothing, Tensor losses, Tensor? dx, Tensor? dhead, float scale, float betaHead)
    {
        GpuFrozenMatrix w = (GpuFrozenMatrix)head;
        int rows = x.Shape.Rows, c = head.Rows, v = head.Columns, block = Math.Min(LogitRows(v), Math.Max(1, rows));
        using Tensor buffer = Empty([block, v]);
        for (int p = 0; p < rows; p += block)
        {
            int count = Math.Min(block, rows - p);
            Matrix z = new(buffer, count, v, 0, v), part = new(x, count, c, p * c, c);
            Product(part, w, false, z, 0);
            Loss(buffer, targets, losses, dx is null ? null : buffer, null, new() { First = p, Columns = v, Smoothing = labelSmoothing, Scale = scale }, count);
            if (dx is null) continue;
            Product(z, w, true, part with { Tensor = dx }, 0);
            if (dhead is not null) Product(z, true, part, false, dhead, 1, p > 0 ? 1 : betaHead);
        }
        if (rows == 0 && dhead is not null && betaHead == 0) Fill(dhead, 0);
    }

    private protected override void CrossEntropyCore(
        Tensor logits, Tensor targets, float labelSmoothing, Tensor losses, Tensor? dlogits, Tensor? scales, float beta) =>
        Loss(logits, targets, losses, dlogits, scales, new() { Columns = logits.Shape.Columns, Smoothing = labelSmoothing, Scale = 1, Beta = beta }, logits.Shape.Rows);

    private void Loss(Tensor logits, Tensor targets, Tensor losses, Tensor? gradient, Tensor? scales, LossNumbers numbers, int rows)
    {
        if (rows == 0) return;
        numbers.HasGradient = gradient is null ? 0 : 1;
        numbers.HasScales = scales is null ? 0 : 1;
        Launch(CrossEntropyKernels.Rows, new(rows), Floats(logits), Floats(gradient ?? logits), Ints(targets), Floats(losses), Floats(scales ?? losses), faults.View, numbers);
    }
}

/// <summary>What all rows of a loss share; First is the row of targets and losses that row 0 of the logits belongs to.</summary>
internal struct LossNumbers
{
    public int First, Columns, HasGradient, HasScales;
    public float Smoothing, Scale, Beta;
}

/// <summary>One block a row: the largest logit and the sum of exponentials in one pass, the gradient in another.</summary>
internal static class CrossEntropyKernels
{
    /// <summary>Losses of rows of logits z, and their gradient g, which may be written over z.</summary>
    [Kernel(256, AnyWarps = true)]
    public static void Rows(
        ArrayView<float> z, ArrayView<float> g, ArrayView<int> targets, ArrayView<float> losses, ArrayView<float> scales, ArrayView<int> faults, LossNumbers n)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(24);
        int row = n.First + Grid.IdxX, target = targets[row], wide = (n.Columns & 3) == 0 ? n.Columns / 4 : 0, start = Grid.IdxX * wide;
        long first = (long)Grid.IdxX * n.Columns;
        if (target < 0 || target >= n.Columns)
        {
            if (Group.IdxX == 0) Faults.Note(faults, Faults.IndexOutside, target, n.Columns, 0, 0);
            return;
        }
        ArrayView<Float4> z4 = z.Cast<Float4>(), g4 = g.Cast<Float4>();
        float max = float.NegativeInfinity, sumExp = 0, sum = 0;
        for (int j = Group.IdxX; j < wide; j += Group.DimX)
        {
            Float4 v = z4[start + j];
            float larger = IntrinsicMath.Max(max, IntrinsicMath.Max(IntrinsicMath.Max(v.X, v.Y), IntrinsicMath.Max(v.Z, v.W)));
            sumExp = sumExp * GpuMath.Exp(max - larger) + Exp(v, larger).Sum;
            max = larger;
            sum += v.Sum;
        }
        for (int j = 4 * wide + Group.IdxX; j < n.Columns; j += Group.DimX)
        {
            float v = z[first + j], larger = IntrinsicMath.Max(max, v);
            sumExp = sumExp * GpuMath.Exp(max - larger) + GpuMath.Exp(v - larger);
            max = larger;
            sum += v;
        }
        float largest = GpuMath.BlockMax(max, shared);
        float total = GpuMath.BlockSum(sumExp * GpuMath.Exp(max - largest), shared.SubView(8, 8));
        float mean = GpuMath.BlockSum(sum, shared.SubView(16, 8)) / n.Columns, lse = largest + GpuMath.Log(total);
        if (Group.IdxX == 0) losses[row] = (1 - n.Smoothing) * (lse - z[first + target]) + n.Smoothing * (lse - mean);
        if (n.HasGradient == 0) return;

        float factor = n.HasScales == 0 ? n.Scale : scales[row], smooth = n.Smoothing / n.Columns;
        Group.Barrier();        // thread 0 has read the target's logit, which is about to be written over
        for (int j = Group.IdxX; j < wide; j += Group.DimX)
        {
            Float4 d = Exp(z4[start + j], lse) + Float4.All(-smooth);
            if (target / 4 == j) d = WithoutTarget(d, target & 3, 1 - n.Smoothing);
            d *= factor;
            if (n.Beta != 0) d += g4[start + j];
            g4[start + j] = d;
        }
        for (int j = 4 * wide + Group.IdxX; j < n.Columns; j += Group.DimX)
        {
            float d = GpuMath.Exp(z[first + j] - lse) - smooth;
            if (j == target) d -= 1 - n.Smoothing;
            d *= factor;
            if (n.Beta != 0) d += g[first + j];
            g[first + j] = d;
        }
    }

    private static Float4 Exp(Float4 v, float shift) =>
        Float4.Of(GpuMath.Exp(v.X - shift), GpuMath.Exp(v.Y - shift), GpuMath.Exp(v.Z - shift), GpuMath.Exp(v.W - shift));

    private static Float4 WithoutTarget(Float4 d, int place, float amount)
    {
        d.X -= place == 0 ? amount : 0;
        d.Y -= place == 1 ? amount : 0;
        d.Z -= place == 2 ? amount : 0;
        d.W -= place == 3 ? amount : 0;
        return d;
    }
}
