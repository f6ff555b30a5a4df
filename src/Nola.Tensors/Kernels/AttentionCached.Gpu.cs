using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// Attention of new rows to a key/value cache. A block has one row of one head; its four warps take every fourth group of
/// 32 keys, and what they found is put together at the end in their order.
/// </summary>
internal static class AttentionCachedKernels
{
    private const int Warps = 4;

    private const float Log2E = 1.44269504f;

    /// <summary>Puts a row's keys and values of all heads into the cache; a block for each row.</summary>
    [Kernel(256)]
    public static void Append(
        ArrayView<float> qkv, ArrayView<int> starts, ArrayView<int> slots, ArrayView<int> past, ArrayView<float> keys, ArrayView<float> values, ArrayView<int> faults, AttentionShape s)
    {
        int row = Grid.IdxX, sequence = GpuMath.SequenceOfRow(starts, row), c = s.Channels, at = past[sequence] + row - starts[sequence];
        if (at >= s.Capacity)
        {
            if (Group.IdxX == 0) Faults.Note(faults, Faults.CacheFull, sequence, past[sequence], starts[sequence + 1] - starts[sequence], s.Capacity);
            return;
        }
        for (int j = Group.IdxX; j < c; j += 256)
        {
            long to = (((long)slots[sequence] * s.Heads + j / s.Size) * s.Capacity + at) * s.Size + j % s.Size;
            keys[to] = qkv[(long)row * 3 * c + c + j];
            values[to] = qkv[(long)row * 3 * c + 2 * c + j];
        }
    }

    [Kernel(128)]
    public static void Attend(
        ArrayView<float> qkv, ArrayView<int> starts, ArrayView<int> slots, ArrayView<int> past, ArrayView<float> keys, ArrayView<float> values, ArrayView<float> y, AttentionShape s)
    {
        ArrayView<float> query = SharedMemory.Allocate<Float4>(AttentionKernels.LargestHead / 4).Cast<float>(), weights = SharedMemory.Allocate<float>(32 * Warps);
        ArrayView<float> maxima = SharedMemory.Allocate<float>(Warps), sums = SharedMemory.Allocate<float>(Warps);
        ArrayView<Float4> outputs = SharedMemory.Allocate<Float4>(32 * Warps);
        int row = Grid.IdxX, lane = Group.IdxX % 32, warp = Group.IdxX / 32, c = s.Channels, sequence = GpuMath.SequenceOfRow(starts, row);
        int seen = IntrinsicMath.Min(past[sequence] + row - starts[sequence] + 1, s.Capacity);
        long cache = ((long)slots[sequence] * s.Heads + Grid.IdxY) * s.Capacity * s.Size;
        for (int d = Group.IdxX; d < s.Size; d += 128) query[d] = qkv[(long)row * 3 * c + Grid.IdxY * s.Size + d];
        Group.Barrier();

        float max = float.NegativeInfinity, sum = 0;
        Float4 output = default;
        for (int k = 32 * warp; k < seen; k += 32 * Warps)
        {
            float score = k + lane < seen ? Dot(query, keys, cache + (long)(k + lane) * s.Size, s.Size) * (s.Scale * Log2E) : float.NegativeInfinity;
            float larger = IntrinsicMath.Max(max, GpuIntrinsics.WarpMax(score)), keep = GpuIntrinsics.Exp2(max - larger), p = GpuIntrinsics.Exp2(score - larger);
            max = larger;
            sum = sum * keep + p;
            output *= keep;
            weights[Group.IdxX] = p;
            Warp.Barrier();
            int count = IntrinsicMath.Min(32, seen - k);
            for (int j = 0; j < count; j++) output += Columns(values, cache + (long)(k + j) * s.Size, lane, s.Size) * weights[32 * warp + j];
            Warp.Barrier();
        }
        sum = GpuIntrinsics.WarpSum(sum);
        if (lane == 0)
        {
            maxima[warp] = max;
            sums[warp] = sum;
        }
        outputs[Group.IdxX] = output;
        Group.Barrier();
        if (warp != 0) return;
        // Warp 0 has seen the first key, so its maximum is finite; a warp without keys weighs nothing.
        float largest = IntrinsicMath.Max(IntrinsicMath.Max(maxima[0], maxima[1]), IntrinsicMath.Max(maxima[2], maxima[3])), total = 0;
        Float4 all = default;
        for (int w = 0; w < Warps; w++)
        {
            float weight = GpuIntrinsics.Exp2(maxima[w] - largest);
            total += sums[w] * weight;
            all += outputs[32 * w + lane] * weight;
        }
        AttentionTiles.StoreColumns(y, (long)row * c + Grid.IdxY * s.Size, all * (1 / total), lane, s.Size, 0);
    }

    private static float Dot(ArrayView<float> query, ArrayView<float> keys, long at, int size)
    {
        float sum = 0;
        if (size % 4 == 0)
        {
            ArrayView<Float4> query4 = query.Cast<Float4>(), keys4 = keys.Cast<Float4>();
            for (int d = 0; d < size / 4; d++) sum += Float4.Dot(query4[d], keys4[at / 4 + d]);
            return sum;
        }
        for (int d = 0; d < size; d++) sum += query[d] * keys[at + d];
        return sum;
    }

    private static Float4 Columns(ArrayView<float> x, long at, int lane, int size)
    {
        Float4 v = default;
        if (lane < size) v.X = x[at + lane];
        if (lane + 32 < size) v.Y = x[at + lane + 32];
        if (lane + 64 < size) v.Z = x[at + lane + 64];
        if (lane + 96 < size) v.W = x[at + lane + 96];
        return v;
    }
}
