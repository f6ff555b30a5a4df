using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void AttentionCore(Tensor qkv, Tensor starts, AttentionLayout layout, Tensor y, Tensor lse)
    {
        if (qkv.Shape.Rows == 0 || starts.Length < 2) return;
        AttentionShape shape = Shape("Attention", layout, qkv.Shape.Rows);
        if (HeadsOnTensorCores(shape))
        {
            TensorAttention(qkv, starts, y, lse, shape);
            return;
        }
        Blocks tiles = Tiles(shape, starts, AttentionKernels.QueriesOfBlock, shape.Heads);
        Launch(AttentionKernels.Forward, tiles, Floats(qkv), Ints(starts), Floats(y), Floats(lse), shape);
    }

    private protected override void AttentionGradCore(
        Tensor qkv, Tensor starts, AttentionLayout layout, Tensor y, Tensor lse, Tensor dy, Tensor dqkv, float beta)
    {
        if (qkv.Shape.Rows == 0 || starts.Length < 2) return;
        AttentionShape shape = Shape("AttentionGrad", layout, qkv.Shape.Rows);
        if (HeadsOnTensorCores(shape))
        {
            TensorAttentionGrad(qkv, starts, y, lse, dy, dqkv, shape, beta);
            return;
        }
        using Tensor dots = Empty(lse.Shape);
        Launch(AttentionKernels.RowDots, new(Blocks.For(shape.Rows, 8), shape.Heads), Floats(y), Floats(dy), Floats(dots), shape);
        Blocks queries = Tiles(shape, starts, AttentionGradKernels.RowsOfBlock, shape.Heads);
        Blocks keys = Tiles(shape, starts, AttentionGradKernels.RowsOfBlock, shape.KeyHeads);
        Launch(AttentionGradKernels.Queries, queries,
            Floats(qkv), Ints(starts), Floats(lse), Floats(dots), Floats(dy), Floats(dqkv), shape, beta);
        Launch(AttentionGradKernels.Keys, keys,
            Floats(qkv), Ints(starts), Floats(lse), Floats(dots), Floats(dy), Floats(dqkv), shape, beta);
    }

    private protected override void AttentionCachedCore(
        Tensor qkv, Tensor starts, Tensor rows, Tensor rowStarts, AttentionLayout layout, Tensor keys, Tensor values, Tensor y)
    {
        int fresh = qkv.Shape.Rows;
        if (fresh == 0 || starts.Length < 2) return;
        AttentionShape shape = Shape("AttentionCached", layout, fresh);
        shape.Capacity = keys.Shape[1];
        Launch(
            AttentionCachedKernels.Append, new(fresh), Floats(qkv), Ints(starts),
            Ints(rows), Ints(rowStarts), Floats(keys), Floats(values), faults.View, shape);
        Launch(
            AttentionCachedKernels.Attend, new(fresh, shape.Heads), Floats(qkv), Ints(starts),
            Ints(rows), Ints(rowStarts), Floats(keys), Floats(values), Floats(y), faults.View, shape);
    }

    private static AttentionShape Shape(string call, AttentionLayout layout, int rows)
    {
        int size = layout.HeadSize;
        if (size > AttentionKernels.LargestHead)
            throw new NolaException(
                $"{call}: heads of {size} on a GPU; at most {AttentionKernels.LargestHead} are supported. Use the CPU.");
        return new()
        {
            Rows = rows,
            Heads = layout.Heads,
            KeyHeads = layout.KeyValueHeads,
            Group = layout.Group,
            Size = size,
            Quarters = (size + 3) / 4,
            Scale = 1 / MathF.Sqrt(size),
            Ahead = layout.Causal ? 0 : AttentionShape.Unlimited,
            Behind = Math.Min(layout.Reach - 1, AttentionShape.Unlimited),
        };
    }

    // Slots for all tiles of all sequences, see GpuMath.SequenceOfSlot, for each of some heads.
    private static Blocks Tiles(AttentionShape shape, Tensor starts, int rows, int heads) =>
        new(shape.Rows / rows + starts.Length - 1, heads);
}

/// <summary>
/// Sizes of one attention call. Heads: H; KeyHeads: G; Group: H / G; Size: D; Quarters: D in fours, rounded up; Rows: N;
/// Capacity: rows of a cache; Slots: for tiles on tensor cores; GradPitch: columns of what these write dk and dv into. A query
/// sees keys up to Behind before and Ahead after it.
/// </summary>
internal struct AttentionShape
{
    /// <summary>More than any distance in a sequence, and small enough to be added to a row.</summary>
    public const int Unlimited = 1 << 30;

    public int Rows, Heads, KeyHeads, Group, Size, Quarters, Capacity, Slots, GradPitch, Ahead, Behind;
    public float Scale;

    /// <summary>H · D: columns of q and y, and the first of k.</summary>
    public readonly int Channels => Heads * Size;

    /// <summary>G · D: columns of k and v.</summary>
    public readonly int KeyWidth => KeyHeads * Size;

    /// <summary>Columns of qkv.</summary>
    public readonly int Width => Channels + 2 * KeyWidth;

    /// <summary>The first key from begin on that the first query of a block sees; those after it see no earlier ones.</summary>
    public readonly int FirstKey(int begin, int query) => IntrinsicMath.Max(begin, query - Behind);

    /// <summary>Whether a query of a sequence that ends at end sees a key.</summary>
    public readonly bool Sees(int query, int key, int end) =>
        !Hides(key - query) & (IntrinsicMath.Max(query, key) < end);

    /// <summary>Whether the mask hides keys so far ahead of a query.</summary>
    public readonly bool Hides(int distance) => (distance > Ahead) | (distance < -Behind);
}

/// <summary>
/// Attention without a T × T matrix, in float32 (Dao et al. 2022): a block has 32 queries of one head of one
/// sequence and walks over its keys, 32 at a time through shared memory. A warp has four queries. A lane is a key while
/// scores are made, and a column of the output while values are summed; the running maximum and sum of each query
/// rescale what is there.
/// </summary>
internal static class AttentionKernels
{
    /// <summary>Largest D: what shared memory and a lane's four columns hold.</summary>
    public const int LargestHead = 128;

    /// <summary>Queries of a block.</summary>
    public const int QueriesOfBlock = 32;

    /// <summary>Keys in shared memory at once, one for each lane.</summary>
    public const int Keys = 32;

    // Quarters between rows in shared memory: an odd number, so that a column of rows lies in all banks.
    public const int Pitch = LargestHead / 4 + 1;

    private const float Log2E = 1.44269504f, Ln2 = 0.693147181f;

    [Kernel(256, 2)]
    public static void Forward(ArrayView<float> qkv, ArrayView<int> starts, ArrayView<float> y, ArrayView<float> lse, AttentionShape s)
    {
        ArrayView<Float4> queries = SharedMemory.Allocate<Float4>(QueriesOfBlock * Pitch);
        ArrayView<Float4> stream = SharedMemory.Allocate<Float4>(Keys * Pitch);
        ArrayView<Float4> weights = SharedMemory.Allocate<Float4>(256);
        int sequence = GpuMath.SequenceOfSlot(starts, Grid.IdxX, QueriesOfBlock);
        int head = Grid.IdxY * s.Size, keys = s.Channels + Grid.IdxY / s.Group * s.Size;
        int begin = starts[sequence], end = starts[sequence + 1];
        int first = begin + (Grid.IdxX - begin / QueriesOfBlock - sequence) * QueriesOfBlock;
        if (first >= end) return;
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, own = 4 * warp;
        AttentionTiles.Load(queries, QueriesOfBlock, qkv, first, end, s.Width, head, s);
        Float4 max = Float4.All(float.NegativeInfinity), sum = default;
        Float4x4 output = default;
        int until = IntrinsicMath.Min(first + QueriesOfBlock + s.Ahead, end);
        // Among the first keys is one that the last query sees too, so that no maximum stays −∞.
        for (int k = s.FirstKey(begin, first); k < until; k += Keys)
        {
            Group.Barrier();
            AttentionTiles.Load(stream, Keys, qkv, k, end, s.Width, keys, s);
            Group.Barrier();
            Float4 score = AttentionTiles.FourDots(queries, own, stream, lane, s.Quarters) * (s.Scale * Log2E);
            // Rows beyond the sequence's end see what its last one sees; nothing of them is stored.
            int distance = k + lane < end ? k + lane - (first + own) : int.MaxValue;
            if (s.Hides(distance)) score.X = float.NegativeInfinity;
            if (s.Hides(distance - 1)) score.Y = float.NegativeInfinity;
            if (s.Hides(distance - 2)) score.Z = float.NegativeInfinity;
            if (s.Hides(distance - 3)) score.W = float.NegativeInfinity;
            Float4 larger = Float4.Max(max, GpuIntrinsics.WarpMaxima(score));
            Float4 keep = Exp2(max + larger * -1), p = Exp2(score + larger * -1);
            max = larger;
            sum = sum * keep + p;
            weights[Group.IdxX] = p;
            Group.Barrier();
            AttentionTiles.Load(stream, Keys, qkv, k, end, s.Width, keys + s.KeyWidth, s);
            Group.Barrier();
            output.A *= keep.X;
            output.B *= keep.Y;
            output.C *= keep.Z;
            output.D *= keep.W;
            ArrayView<float> values = stream.Cast<float>();
            for (int j = 0; j < Keys; j++)
                output.AddOuter(weights[32 * warp + j], AttentionTiles.LaneColumns(values, 4 * Pitch * j + lane, s.Size));
        }
        sum = GpuIntrinsics.WarpSums(sum);
        int row = first + own;
        Store(y, lse, output.A, max.X, sum.X, row, end, lane, head, s);
        Store(y, lse, output.B, max.Y, sum.Y, row + 1, end, lane, head, s);
        Store(y, lse, output.C, max.Z, sum.Z, row + 2, end, lane, head, s);
        Store(y, lse, output.D, max.W, sum.W, row + 3, end, lane, head, s);
    }

    /// <summary>dots[h, n] = ⟨dy, y⟩ of row n's head h; a warp for each.</summary>
    [Kernel(256)]
    public static void RowDots(ArrayView<float> y, ArrayView<float> dy, ArrayView<float> dots, AttentionShape s)
    {
        int lane = Group.IdxX & 31, row = Grid.IdxX * 8 + Group.IdxX / 32;
        if (row >= s.Rows) return;
        long first = (long)row * s.Channels + Grid.IdxY * s.Size;
        float sum = 0;
        for (int d = lane; d < s.Size; d += 32) sum += y[first + d] * dy[first + d];
        sum = GpuIntrinsics.WarpSum(sum);
        if (lane == 0) dots[Grid.IdxY * s.Rows + row] = sum;
    }

    private static void Store(
        ArrayView<float> y, ArrayView<float> lse, Float4 output, float max,
        float sum, int row, int end, int lane, int head, AttentionShape s)
    {
        if (row >= end) return;
        AttentionTiles.StoreColumns(y, (long)row * s.Channels + head, output * (1 / sum), lane, s.Size, 0);
        if (lane == 0) lse[Grid.IdxY * s.Rows + row] = max * Ln2 + GpuMath.Log(sum);
    }

    private static Float4 Exp2(Float4 x) =>
        Float4.Of(GpuIntrinsics.Exp2(x.X), GpuIntrinsics.Exp2(x.Y), GpuIntrinsics.Exp2(x.Z), GpuIntrinsics.Exp2(x.W));
}

/// <summary>What the attention kernels share: tiles of rows in shared memory, and a lane's columns d = lane + 32 · c of a head.</summary>
internal static class AttentionTiles
{
    /// <summary>
    /// Rows first … first + count − 1 of one head's q, k, v or dy, padded with zeros to whole quarters and beyond end.
    /// </summary>
    public static void Load(
        ArrayView<Float4> tile, int count, ArrayView<float> x, int first, int end, int stride, int column, AttentionShape s)
    {
        for (int q = Group.IdxX; q < count * s.Quarters; q += 256)
        {
            int row = q / s.Quarters, d = (q - row * s.Quarters) * 4;
            Float4 v = default;
            if (first + row < end)
            {
                int at = (first + row) * stride + column + d;
                if ((s.Size & 3) == 0) v = x.Cast<Float4>()[at / 4];
                else
                {
                    v.X = x[at];
                    if (d + 1 < s.Size) v.Y = x[at + 1];
                    if (d + 2 < s.Size) v.Z = x[at + 2];
                    if (d + 3 < s.Size) v.W = x[at + 3];
                }
            }
            tile[row * AttentionKernels.Pitch + d / 4] = v;
        }
    }

    /// <summary>Products of row <paramref name="lane"/> of b with rows <paramref name="own"/> … + 3 of a.</summary>
    public static Float4 FourDots(ArrayView<Float4> a, int own, ArrayView<Float4> b, int lane, int quarters)
    {
        Float4 dots = default;
        int at = own * AttentionKernels.Pitch, to = lane * AttentionKernels.Pitch;
        for (int d = 0; d < quarters; d++)
        {
            Float4 v = b[to + d];
            dots.X += Float4.Dot(v, a[at + d]);
            dots.Y += Float4.Dot(v, a[at + AttentionKernels.Pitch + d]);
            dots.Z += Float4.Dot(v, a[at + 2 * AttentionKernels.Pitch + d]);
            dots.W += Float4.Dot(v, a[at + 3 * AttentionKernels.Pitch + d]);
        }
        return dots;
    }

    /// <summary>Elements at, at + 32, at + 64 and at + 96 of a row, as far as the head goes: beyond it nothing was written.</summary>
    public static Float4 LaneColumns(ArrayView<float> tile, int at, int size)
    {
        int lane = Group.IdxX & 31;
        Float4 v = default;
        if (size > lane) v.X = tile[at];
        if (size > lane + 32) v.Y = tile[at + 32];
        if (size > lane + 64) v.Z = tile[at + 64];
        if (size > lane + 96) v.W = tile[at + 96];
        return v;
    }

    /// <summary>Writes, or with beta adds, a lane's columns to a row of memory.</summary>
    public static void StoreColumns(ArrayView<float> y, long at, Float4 v, int lane, int size, float beta)
    {
        StoreOne(y, at, v.X, lane, size, beta);
        StoreOne(y, at, v.Y, lane + 32, size, beta);
        StoreOne(y, at, v.Z, lane + 64, size, beta);
        StoreOne(y, at, v.W, lane + 96, size, beta);
    }

    private static void StoreOne(ArrayView<float> y, long at, float value, int d, int size, float beta)
    {
        if (d < size) y[at + d] = beta == 0 ? value : value + y[at + d];
    }
}
