using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// Attention of new rows to lists of cache rows. A block has one row of one head; its four warps take every fourth group of
/// 32 keys, and what they found is put together at the end in their order.
/// </summary>
internal static class AttentionCachedKernels
{
    private const int Warps = 4;

    private const float Log2E = 1.44269504f;

    /// <summary>
    /// Puts the keys and values of a new token, for all heads, into its row of the cache; a block for each token. The blocks
    /// also check the lists, so that <see cref="Attend"/> can follow them.
    /// </summary>
    [Kernel(256, AnyWarps = true)]
    public static void Append(
        ArrayView<float> qkv, ArrayView<int> starts, ArrayView<int> list, ArrayView<int> listStarts,
        ArrayView<float> keys, ArrayView<float> values, ArrayView<int> faults, AttentionShape s)
    {
        Check(starts, list, listStarts, faults, s.Capacity);
        int token = Grid.IdxX, sequence = GpuMath.SequenceOfRow(starts, token), end = starts[sequence + 1];
        if (token >= end || !Fits(starts, listStarts, sequence, list.IntLength)) return;
        // The list ends with the new tokens' rows.
        int row = list[listStarts[sequence + 1] - (end - token)];
        if (row < 0 || row >= s.Capacity) return;
        for (int j = Group.IdxX; j < s.KeyWidth; j += Group.DimX)
        {
            int head = j / s.Size;
            long from = (long)token * s.Width + s.Channels + j, to = ((long)head * s.Capacity + row - head) * s.Size + j;
            keys[to] = qkv[from];
            values[to] = qkv[from + s.KeyWidth];
        }
    }

    /// <summary>What a new token sees of its list, weighed; nothing where there was a fault, which the next download throws.</summary>
    [Kernel(128)]
    public static void Attend(
        ArrayView<float> qkv, ArrayView<int> starts, ArrayView<int> list, ArrayView<int> listStarts,
        ArrayView<float> keys, ArrayView<float> values, ArrayView<float> y, ArrayView<int> faults, AttentionShape s)
    {
        ArrayView<float> query = SharedMemory.Allocate<Float4>(AttentionKernels.LargestHead / 4).Cast<float>();
        ArrayView<float> weights = SharedMemory.Allocate<float>(32 * Warps);
        ArrayView<int> places = SharedMemory.Allocate<int>(32 * Warps);
        ArrayView<float> maxima = SharedMemory.Allocate<float>(Warps), sums = SharedMemory.Allocate<float>(Warps);
        ArrayView<Float4> outputs = SharedMemory.Allocate<Float4>(32 * Warps);
        int row = Grid.IdxX, lane = Group.IdxX & 31, warp = Group.IdxX / 32;
        int sequence = GpuMath.SequenceOfRow(starts, row), end = starts[sequence + 1];
        if (faults[0] != 0 || row >= end) return;
        // Places in the list: of the row itself and of the first that it sees, and how many it sees.
        int first = listStarts[sequence], length = listStarts[sequence + 1] - first;
        int own = length - (end - row), lowest = s.FirstKey(0, own);
        int seen = IntrinsicMath.Min(own + 1 + s.Ahead, length) - lowest;
        first += lowest;
        long head = (long)(Grid.IdxY / s.Group) * s.Capacity;
        for (int d = Group.IdxX; d < s.Size; d += 128) query[d] = qkv[(long)row * s.Width + Grid.IdxY * s.Size + d];
        Group.Barrier();

        float max = float.NegativeInfinity, sum = 0;
        Float4 output = default;
        for (int k = 32 * warp; k < seen; k += 32 * Warps)
        {
            int place = list[first + IntrinsicMath.Min(k + lane, seen - 1)];
            float score = k + lane < seen ? Dot(query, keys, (head + place) * s.Size, s.Size) * (s.Scale * Log2E) : float.NegativeInfinity;
            float larger = IntrinsicMath.Max(max, GpuIntrinsics.WarpMax(score));
            float keep = GpuIntrinsics.Exp2(max - larger), p = GpuIntrinsics.Exp2(score - larger);
            max = larger;
            sum = sum * keep + p;
            output *= keep;
            weights[Group.IdxX] = p;
            places[Group.IdxX] = place;
            Warp.Barrier();
            int count = IntrinsicMath.Min(32, seen - k), j = 0;
            for (; j + 4 <= count; j += 4)
            {
                int at = 32 * warp + j;
                Float4 v0 = Columns(values, (head + places[at]) * s.Size, lane, s.Size);
                Float4 v1 = Columns(values, (head + places[at + 1]) * s.Size, lane, s.Size);
                Float4 v2 = Columns(values, (head + places[at + 2]) * s.Size, lane, s.Size);
                Float4 v3 = Columns(values, (head + places[at + 3]) * s.Size, lane, s.Size);
                output = output + v0 * weights[at] + v1 * weights[at + 1] + v2 * weights[at + 2] + v3 * weights[at + 3];
            }
            for (; j < count; j++)
                output += Columns(values, (head + places[32 * warp + j]) * s.Size, lane, s.Size) * weights[32 * warp + j];
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
        AttentionTiles.StoreColumns(y, (long)row * s.Channels + Grid.IdxY * s.Size, all * (1 / total), lane, s.Size, 0);
    }

    // All blocks share the rows; the first has the sequences.
    private static void Check(ArrayView<int> starts, ArrayView<int> list, ArrayView<int> listStarts, ArrayView<int> faults, int capacity)
    {
        for (int i = Grid.IdxX * Group.DimX + Group.IdxX; i < list.IntLength; i += Grid.DimX * Group.DimX)
            if (list[i] < 0 || list[i] >= capacity) Faults.Note(faults, Faults.IndexOutside, list[i], capacity, 0, 0);
        if (Grid.IdxX != 0) return;
        for (int n = Group.IdxX; n < starts.IntLength - 1; n += Group.DimX)
            if (!Fits(starts, listStarts, n, list.IntLength))
                Faults.Note(faults, Faults.ListUnfit, n, starts[n + 1] - starts[n], listStarts[n + 1] - listStarts[n], list.IntLength);
    }

    private static bool Fits(ArrayView<int> starts, ArrayView<int> listStarts, int sequence, int total)
    {
        int fresh = starts[sequence + 1] - starts[sequence], first = listStarts[sequence], end = listStarts[sequence + 1];
        return fresh >= 0 && end - first >= fresh && first >= 0 && end <= total;
    }

    private static float Dot(ArrayView<float> query, ArrayView<float> keys, long at, int size)
    {
        float sum = 0;
        if ((size & 3) == 0)
        {
            ArrayView<Float4> query4 = query.Cast<Float4>(), keys4 = keys.Cast<Float4>();
            int d = 0;
            long first = at / 4;
            for (; d + 4 <= size / 4; d += 4)
            {
                // On their way at once, and added in their order.
                Float4 k0 = keys4[first + d], k1 = keys4[first + d + 1], k2 = keys4[first + d + 2], k3 = keys4[first + d + 3];
                sum = sum + Float4.Dot(query4[d], k0) + Float4.Dot(query4[d + 1], k1)
                    + Float4.Dot(query4[d + 2], k2) + Float4.Dot(query4[d + 3], k3);
            }
            for (; d < size / 4; d++) sum += Float4.Dot(query4[d], keys4[first + d]);
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
