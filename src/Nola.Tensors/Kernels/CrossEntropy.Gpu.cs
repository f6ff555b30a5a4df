using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    // 128 bytes.
    private const int FloatsOfLine = 32;

    // Rows of logits that exist at once: enough to fill a large card, in at most 128 MB; whole tiles of the largest kind, as far as
    // there are some.
    private int LogitRows(int vocabulary)
    {
        int rows = logitFloats / vocabulary, whole = rows < TensorTile.Large.Rows ? 16 : TensorTile.Large.Rows;
        return Math.Clamp(rows / whole * whole, 16, 2048);
    }

    private protected override void HeadCrossEntropyCore(
        Tensor x, FrozenMatrix head, Tensor targets, float labelSmoothing,
        Tensor losses, Tensor? dx, Tensor? dhead, float scale, float betaHead, ILogitDeltas? deltas)
    {
        GpuFrozenMatrix w = (GpuFrozenMatrix)head;
        int rows = x.Shape.Rows, c = head.Rows, v = head.Columns, block = Math.Min(LogitRows(v), Math.Max(1, rows));
        // Rows begin at whole lines of memory, whatever the vocabulary, so that four logits are read and written at once.
        int pitch = Padded(v, FloatsOfLine);
        using Tensor buffer = Empty([block, pitch]);
        // What deltas get is a gradient in float32.
        using Tensor? halves = dx is not null && deltas is null && products == Products.BFloat16
            ? Empty([Padded(block, TensorTile.Large.Rows), Padded(v, TensorTile.Widest)], DType.BFloat16)
            : null;
        for (int p = 0; p < rows; p += block)
        {
            int count = Math.Min(block, rows - p);
            Matrix z = new(buffer, count, v, 0, pitch), part = new(x, count, c, p * c, c);
            LossNumbers numbers = new() { First = p, Columns = v, Pitch = pitch, Smoothing = labelSmoothing, Scale = scale };
            Product(part, w, false, z, 0);
            deltas?.AddTo(z, p);
            if (halves is not null && OnTensorCores(count, c, v))
            {
                Matrix dpart = part with { Tensor = dx! };
                HeadGradOnTensorCores(buffer, halves, w, targets, losses, dpart, part, dhead, p > 0 ? 1 : betaHead, numbers);
                continue;
            }
            Loss(buffer, targets, losses, dx is null ? null : buffer, null, numbers, count);
            if (dx is null) continue;
            Product(z, w, true, part with { Tensor = dx }, 0);
            if (dhead is not null) Product(z, true, part, false, dhead, 1, p > 0 ? 1 : betaHead);
            deltas?.Backward(z, p);
        }
        if (rows == 0 && dhead is not null && betaHead == 0) Fill(dhead, 0);
    }

    // The gradient of the logits only goes into products, so it is written as tensor cores read it.
    private void HeadGradOnTensorCores(
        Tensor logits, Tensor halves, GpuFrozenMatrix w, Tensor targets, Tensor losses,
        Matrix dx, Matrix x, Tensor? dhead, float betaHead, LossNumbers numbers)
    {
        int columns = halves.Shape.Columns, height = Padded(dx.Rows, TensorTile.Large.Rows);
        numbers.Rows = dx.Rows;
        numbers.Width = columns / 4;
        ArrayView<Word2> gradient = Halves(halves).Cast<Word2>();
        Launch(
            CrossEntropyKernels.RowsInHalves, new(height), Floats(logits), gradient, Ints(targets), Floats(losses), faults.View, numbers);
        Product(new Matrix(halves, height, columns, 0, columns), w, true, dx, 0);
        if (dhead is not null) Product(new Matrix(halves, dx.Rows, w.Columns, 0, columns), true, x, false, dhead, 1, betaHead);
    }

    private static int Padded(int size, int to) => Blocks.For(size, to) * to;

    private protected override void CrossEntropyCore(
        Tensor logits, Tensor targets, float labelSmoothing, Tensor losses, Tensor? dlogits, Tensor? scales, float beta)
    {
        int columns = logits.Shape.Columns;
        LossNumbers numbers = new() { Columns = columns, Pitch = columns, Smoothing = labelSmoothing, Scale = 1, Beta = beta };
        Loss(logits, targets, losses, dlogits, scales, numbers, logits.Shape.Rows);
    }

    private void Loss(Tensor logits, Tensor targets, Tensor losses, Tensor? gradient, Tensor? scales, LossNumbers numbers, int rows)
    {
        if (rows == 0) return;
        numbers.HasGradient = gradient is null ? 0 : 1;
        numbers.HasScales = scales is null ? 0 : 1;
        Launch(
            CrossEntropyKernels.Rows, new(rows), Floats(logits), Floats(gradient ?? logits),
            Ints(targets), Floats(losses), Floats(scales ?? losses), faults.View, numbers);
    }
}

/// <summary>
/// What all rows of a loss share. First: the row of targets and losses that row 0 of the logits belongs to; Pitch: how far
/// rows of logits are apart; Rows and Width: logits' rows, and fours of a row of the gradient, where that is padded.
/// </summary>
internal struct LossNumbers
{
    public int First, Columns, Pitch, Rows, Width, HasGradient, HasScales;
    public float Smoothing, Scale, Beta;
}

/// <summary>One block a row: the largest logit and the sum of exponentials in one pass, the gradient in another.</summary>
internal static class CrossEntropyKernels
{
    /// <summary>Losses of rows of logits z, and their gradient g, which may be written over z.</summary>
    [Kernel(256, AnyWarps = true)]
    public static void Rows(
        ArrayView<float> z, ArrayView<float> g, ArrayView<int> targets,
        ArrayView<float> losses, ArrayView<float> scales, ArrayView<int> faults, LossNumbers n)
    {
        RowLoss loss = Measure(z, targets, losses, faults, n);
        if (loss.Target < 0 || n.HasGradient == 0) return;
        int row = n.First + Grid.IdxX, target = loss.Target, wide = Fours(n), start = Grid.IdxX * (n.Pitch / 4);
        long first = (long)Grid.IdxX * n.Pitch;
        float factor = n.HasScales == 0 ? n.Scale : scales[row], smooth = n.Smoothing / n.Columns;
        ArrayView<Float4> z4 = z.Cast<Float4>(), g4 = g.Cast<Float4>();
        Group.Barrier();        // thread 0 has read the target's logit, which is about to be written over
        for (int j = Group.IdxX; j < wide; j += Group.DimX)
        {
            Float4 d = Grad(z4[start + j], j, loss, smooth, n) * factor;
            if (n.Beta != 0) d += g4[start + j];
            g4[start + j] = d;
        }
        for (int j = 4 * wide + Group.IdxX; j < n.Columns; j += Group.DimX)
        {
            float d = GpuMath.Exp(z[first + j] - loss.LogSumExp) - smooth;
            if (j == target) d -= 1 - n.Smoothing;
            d *= factor;
            if (n.Beta != 0) d += g[first + j];
            g[first + j] = d;
        }
    }

    /// <summary>
    /// The same with a gradient in bfloat16, padded with zeros. Rows of logits begin at multiples of four, and end with some that
    /// nobody reads.
    /// </summary>
    [Kernel(256, AnyWarps = true)]
    public static void RowsInHalves(
        ArrayView<float> z, ArrayView<Word2> g, ArrayView<int> targets, ArrayView<float> losses, ArrayView<int> faults, LossNumbers n)
    {
        long to = (long)Grid.IdxX * n.Width;
        RowLoss loss = default;
        loss.Target = -1;
        if (Grid.IdxX < n.Rows) loss = Measure(z, targets, losses, faults, n);
        int wide = loss.Target < 0 ? 0 : Fours(n), start = Grid.IdxX * (n.Pitch / 4), rest = loss.Target < 0 ? 0 : n.Columns - 4 * wide;
        float smooth = n.Smoothing / n.Columns;
        ArrayView<Float4> z4 = z.Cast<Float4>();
        for (int j = Group.IdxX; j < n.Width; j += Group.DimX)
        {
            Float4 d = default;
            if (j < wide) d = Grad(z4[start + j], j, loss, smooth, n) * n.Scale;
            else if (j == wide && rest > 0) d = Grad(Rest(z, 4L * (start + j), rest), j, loss, smooth, n) * n.Scale;
            // The last few of a row may have neighbors that are none of it.
            if (j == wide)
            {
                if (rest < 2) d.Y = 0;
                if (rest < 3) d.Z = 0;
                d.W = 0;
            }
            Word2 halves = default;
            halves.X = GpuIntrinsics.PackHalves(d.X, d.Y);
            halves.Y = GpuIntrinsics.PackHalves(d.Z, d.W);
            g[to + j] = halves;
        }
    }

    private static Float4 Rest(ArrayView<float> z, long at, int count)
    {
        Float4 v = default;
        v.X = z[at];
        if (count > 1) v.Y = z[at + 1];
        if (count > 2) v.Z = z[at + 2];
        return v;
    }

    // Fours of a row that can be read at once.
    private static int Fours(LossNumbers n) => (n.Pitch & 3) == 0 ? n.Columns / 4 : 0;

    // Writes a row's loss. Target: −1 where there is none such.
    private static RowLoss Measure(
        ArrayView<float> z, ArrayView<int> targets, ArrayView<float> losses, ArrayView<int> faults, LossNumbers n)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(24);
        int row = n.First + Grid.IdxX, wide = Fours(n), start = Grid.IdxX * (n.Pitch / 4);
        long first = (long)Grid.IdxX * n.Pitch;
        RowLoss loss = default;
        loss.Target = targets[row];
        if (loss.Target < 0 || loss.Target >= n.Columns)
        {
            if (Group.IdxX == 0) Faults.Note(faults, Faults.IndexOutside, loss.Target, n.Columns, 0, 0);
            loss.Target = -1;
            return loss;
        }
        ArrayView<Float4> z4 = z.Cast<Float4>();
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
        loss.LogSumExp = lse;
        if (Group.IdxX == 0) losses[row] = (1 - n.Smoothing) * (lse - z[first + loss.Target]) + n.Smoothing * (lse - mean);
        return loss;
    }

    // Of four logits, but for the factor.
    private static Float4 Grad(Float4 v, int j, RowLoss loss, float smooth, LossNumbers n)
    {
        Float4 d = Exp(v, loss.LogSumExp) + Float4.All(-smooth);
        return loss.Target / 4 == j ? WithoutTarget(d, loss.Target & 3, 1 - n.Smoothing) : d;
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

    private struct RowLoss
    {
        public int Target;
        public float LogSumExp;
    }
}
