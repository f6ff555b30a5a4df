using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void LogSumExpCore(Tensor logits, Tensor y)
    {
        if (y.Length > 0) Launch(LogitsKernels.LogSumExp, new(y.Length), Floats(logits), Floats(y), logits.Shape.Columns);
    }

    private protected override void TopKCore(Tensor x, Tensor values, Tensor indices)
    {
        if (x.Shape.Rows > 0)
            Launch(LogitsKernels.TopK, new(x.Shape.Rows), Floats(x), Floats(values), Ints(indices), x.Shape.Columns, values.Shape.Columns);
    }

    private protected override void BanCore(Tensor logits, Tensor starts, Tensor ids)
    {
        if (logits.Shape.Rows > 0)
            Launch(LogitsKernels.Ban, new(logits.Shape.Rows), Floats(logits), Ints(starts), Ints(ids), faults.View, logits.Shape.Columns);
    }

    private protected override void PenalizeCore(Tensor logits, Tensor starts, Tensor ids, float penalty, Tensor? from)
    {
        if (logits.Shape.Rows == 0) return;
        PenaltyNumbers numbers = new() { Columns = logits.Shape.Columns, HasFrom = from is null ? 0 : 1, Penalty = penalty };
        Launch(
            LogitsKernels.Penalize, new(logits.Shape.Rows), Floats(logits),
            Ints(starts), Ints(ids), Floats(from ?? logits), faults.View, numbers);
    }
}

/// <summary>What all rows of a repetition penalty share.</summary>
internal struct PenaltyNumbers
{
    public int Columns, HasFrom;
    public float Penalty;
}

/// <summary>An element and its place; the larger ranks first, and of equal ones that with the lower index.</summary>
internal struct Ranked
{
    public float Value;
    public int Index;

    public static Ranked Of(float value, int index)
    {
        Ranked r = default;
        r.Value = value;
        r.Index = index;
        return r;
    }

    /// <summary>x[j] if it ranks after <paramref name="last"/> and is larger than what was best so far.</summary>
    public static Ranked Better(Ranked best, float value, int index, Ranked last)
    {
        bool after = value < last.Value || (value == last.Value && index > last.Index);
        return after && value > best.Value ? Of(value, index) : best;
    }
}

/// <summary>One block a row of logits.</summary>
internal static class LogitsKernels
{
    /// <summary>The largest of a row in one pass, the sum of exponentials in another.</summary>
    [Kernel(256, AnyWarps = true)]
    public static void LogSumExp(ArrayView<float> z, ArrayView<float> y, int columns)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(16);
        int wide = (columns & 3) == 0 ? columns / 4 : 0, start = Grid.IdxX * wide;
        long first = (long)Grid.IdxX * columns;
        ArrayView<Float4> z4 = z.Cast<Float4>();
        Float4 larger = Float4.All(float.NegativeInfinity);
        for (int j = Group.IdxX; j < wide; j += Group.DimX) larger = Float4.Max(larger, z4[start + j]);
        float max = IntrinsicMath.Max(IntrinsicMath.Max(larger.X, larger.Y), IntrinsicMath.Max(larger.Z, larger.W));
        // Most vocabularies are no multiple of four. Eight reads are on their way at once, and are taken in their order.
        int each = Group.DimX, near = 4 * wide + Group.IdxX;
        for (; near + 7 * each < columns; near += 8 * each)
        {
            Float8 v = Read(z, first + near, each);
            Float4 both = Float4.Max(v.Low, v.High);
            max = IntrinsicMath.Max(max, IntrinsicMath.Max(IntrinsicMath.Max(both.X, both.Y), IntrinsicMath.Max(both.Z, both.W)));
        }
        for (; near < columns; near += each) max = IntrinsicMath.Max(max, z[first + near]);
        max = GpuMath.BlockMax(max, shared);
        // Of a row of −∞, which has no differences, the result is −∞ as well.
        float shift = IntrinsicMath.Max(max, float.MinValue), sum = 0;
        for (int j = Group.IdxX; j < wide; j += Group.DimX)
        {
            Float4 v = z4[start + j];
            sum += Float4.Of(GpuMath.Exp(v.X - shift), GpuMath.Exp(v.Y - shift), GpuMath.Exp(v.Z - shift), GpuMath.Exp(v.W - shift)).Sum;
        }
        near = 4 * wide + Group.IdxX;
        for (; near + 7 * each < columns; near += 8 * each)
        {
            Float8 v = Read(z, first + near, each);
            sum = sum + GpuMath.Exp(v.Low.X - shift) + GpuMath.Exp(v.Low.Y - shift)
                + GpuMath.Exp(v.Low.Z - shift) + GpuMath.Exp(v.Low.W - shift);
            sum = sum + GpuMath.Exp(v.High.X - shift) + GpuMath.Exp(v.High.Y - shift)
                + GpuMath.Exp(v.High.Z - shift) + GpuMath.Exp(v.High.W - shift);
        }
        for (; near < columns; near += each) sum += GpuMath.Exp(z[first + near] - shift);
        sum = GpuMath.BlockSum(sum, shared.SubView(8, 8));
        if (Group.IdxX == 0) y[Grid.IdxX] = shift + GpuMath.Log(sum);
    }

    /// <summary>k passes over a row, each for the first element in rank after that of the pass before.</summary>
    [Kernel(256, AnyWarps = true)]
    public static void TopK(ArrayView<float> x, ArrayView<float> values, ArrayView<int> indices, int columns, int k)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(8);
        ArrayView<int> lowest = SharedMemory.Allocate<int>(1);
        int wide = (columns & 3) == 0 ? columns / 4 : 0, start = Grid.IdxX * wide, to = Grid.IdxX * k;
        long first = (long)Grid.IdxX * columns;
        ArrayView<Float4> x4 = x.Cast<Float4>();
        Ranked last = Ranked.Of(float.PositiveInfinity, -1);
        for (int place = 0; place < k; place++)
        {
            if (Group.IdxX == 0) lowest[0] = int.MaxValue;
            Ranked best = Ranked.Of(float.NegativeInfinity, int.MaxValue);
            for (int j = Group.IdxX; j < wide; j += Group.DimX)
            {
                Float4 v = x4[start + j];
                best = Ranked.Better(best, v.X, 4 * j, last);
                best = Ranked.Better(best, v.Y, 4 * j + 1, last);
                best = Ranked.Better(best, v.Z, 4 * j + 2, last);
                best = Ranked.Better(best, v.W, 4 * j + 3, last);
            }
            int each = Group.DimX, near = 4 * wide + Group.IdxX;
            for (; near + 7 * each < columns; near += 8 * each)
            {
                Float8 v = Read(x, first + near, each);
                best = Ranked.Better(best, v.Low.X, near, last);
                best = Ranked.Better(best, v.Low.Y, near + each, last);
                best = Ranked.Better(best, v.Low.Z, near + 2 * each, last);
                best = Ranked.Better(best, v.Low.W, near + 3 * each, last);
                best = Ranked.Better(best, v.High.X, near + 4 * each, last);
                best = Ranked.Better(best, v.High.Y, near + 5 * each, last);
                best = Ranked.Better(best, v.High.Z, near + 6 * each, last);
                best = Ranked.Better(best, v.High.W, near + 7 * each, last);
            }
            for (; near < columns; near += each) best = Ranked.Better(best, x[first + near], near, last);
            float max = GpuMath.BlockMax(best.Value, shared);
            if (best.Value == max) Atomic.Min(ref lowest[0], best.Index);
            Group.Barrier();
            last = Ranked.Of(max, lowest[0]);
            if (Group.IdxX == 0)
            {
                values[to + place] = max;
                indices[to + place] = last.Index == int.MaxValue ? -1 : last.Index;
            }
            Group.Barrier();        // all have read the index that thread 0 is about to reset
        }
    }

    /// <summary>−∞ for a row's list of tokens.</summary>
    [Kernel(128, AnyWarps = true)]
    public static void Ban(ArrayView<float> z, ArrayView<int> starts, ArrayView<int> ids, ArrayView<int> faults, int columns)
    {
        int row = Grid.IdxX;
        if (!IsList(starts, ids, row, faults)) return;
        for (int i = starts[row] + Group.IdxX; i < starts[row + 1]; i += Group.DimX)
            if (IsToken(ids[i], columns, faults)) z[(long)row * columns + ids[i]] = float.NegativeInfinity;
    }

    /// <summary>The penalty for a row's list of tokens, of which none stands twice.</summary>
    [Kernel(128, AnyWarps = true)]
    public static void Penalize(
        ArrayView<float> z, ArrayView<int> starts, ArrayView<int> ids, ArrayView<float> from, ArrayView<int> faults, PenaltyNumbers n)
    {
        int row = Grid.IdxX;
        if (!IsList(starts, ids, row, faults)) return;
        float shift = n.HasFrom == 0 ? 0 : from[row];
        for (int i = starts[row] + Group.IdxX; i < starts[row + 1]; i += Group.DimX)
        {
            if (!IsToken(ids[i], n.Columns, faults)) continue;
            long at = (long)row * n.Columns + ids[i];
            float d = z[at] - shift;
            z[at] = (d < 0 ? d * n.Penalty : d / n.Penalty) + shift;
        }
    }

    // Eight elements, each so far from the one before.
    private static Float8 Read(ArrayView<float> x, long at, int step) =>
        Float8.Of(
            Float4.Of(x[at], x[at + step], x[at + 2L * step], x[at + 3L * step]),
            Float4.Of(x[at + 4L * step], x[at + 5L * step], x[at + 6L * step], x[at + 7L * step]));

    private static bool IsList(ArrayView<int> starts, ArrayView<int> ids, int row, ArrayView<int> faults)
    {
        int first = starts[row], end = starts[row + 1];
        if (first >= 0 && first <= end && end <= ids.IntLength) return true;
        if (Group.IdxX == 0) Faults.Note(faults, Faults.IndexOutside, end, ids.IntLength, 0, 0);
        return false;
    }

    private static bool IsToken(int id, int columns, ArrayView<int> faults)
    {
        if (id >= 0 && id < columns) return true;
        Faults.Note(faults, Faults.IndexOutside, id, columns, 0, 0);
        return false;
    }
}
