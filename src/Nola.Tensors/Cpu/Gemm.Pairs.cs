using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Nola.Tensors;

internal static unsafe partial class Gemm
{
    // Packed rows of A that stay in the second-level cache, in step pairs.
    private const int BlockPairs = 128 * 1024;

    /// <summary>Step pairs of k steps, whole turns of the kernel.</summary>
    public static int PairsOf(int k)
    {
        const int Turn = 2 * PairKernels.PairsMultiple;
        return (k + Turn - 1) / Turn * PairKernels.PairsMultiple;
    }

    /// <summary>
    /// Packs B (k × n), element (p, j) at <c>b[p · rowStride + j · columnStride]</c>, rounded to bfloat16, in panels of 32 columns, each
    /// of <see cref="PairsOf"/>(k) step pairs of 32 elements of four bytes.
    /// </summary>
    public static void PackPairs(ThreadTeam team, float* b, nint rowStride, nint columnStride, int k, int n, uint* packed)
    {
        long panel = (long)PairsOf(k) * 32;
        team.For(Panels(n), 1, (first, last) =>
        {
            for (int i = first; i < last; i++)
                PackLanes(b + i * 32 * columnStride, columnStride, rowStride, Math.Min(32, n - i * 32), 32, k, packed + i * panel);
        });
    }

    /// <summary>A panel of (steps, 32) floats.</summary>
    public static void PackPairs(float* panel, int steps, uint* packed) => PackLanes(panel, 1, 32, 32, 32, steps, packed);

    /// <summary>
    /// C (m × n) = alpha · A · B [+ bias] [+ C] over the team, of A rounded to bfloat16 and of packed pairs, with float32 sums. The order
    /// of summation depends on the shapes alone.
    /// </summary>
    private static void MultiplyPairs(
        ThreadTeam team, int m, int n, int k, Operand a, uint* b, float* c, nint cStride,
        float alpha, float* bias, bool accumulate, Epilogue? after)
    {
        int panels = Panels(n), tiles = (m + PairKernels.MostRows - 1) / PairKernels.MostRows;
        // A whole number of turns, so that blocks of steps begin where a turn does.
        int steps = 2 * PairsOf(StepsOf(k));
        int most = Math.Clamp(BlockPairs / (steps / 2) / 16, 1, 32), rowBlocks = (tiles + most - 1) / most;
        rowBlocks = Math.Min(tiles, (rowBlocks + team.Threads - 1) / team.Threads * team.Threads);
        int columnBlocks = Math.Min(panels, rowBlocks >= team.Threads ? 1 : m == 1 ? 6 * team.Threads : team.Threads);
        long panelPairs = (long)PairsOf(k) * 32;
        team.For(rowBlocks * columnBlocks, 1, (start, end) =>
        {
            for (int piece = start; piece < end; piece++)
            {
                int row = piece % rowBlocks, column = piece / rowBlocks;
                int i = Share(tiles, row, rowBlocks) * PairKernels.MostRows;
                int height = Math.Min(m, Share(tiles, row + 1, rowBlocks) * PairKernels.MostRows) - i;
                int panel = Share(panels, column, columnBlocks), end32 = Share(panels, column + 1, columnBlocks);
                for (int p = 0; p < k || p == 0; p += steps)
                    Block(i, height, panel, end32, p, Math.Min(steps, k - p));
                after?.Invoke(i, panel * 32, height, Math.Min(n, end32 * 32) - panel * 32);
            }
        });

        // Some rows by some panels over some steps.
        void Block(int i, int height, int panel, int last, int p, int deep)
        {
            int pairs = PairsOf(deep);
            float* sums = Scratch.Floats(32 * PairKernels.MostRows + (long)(height + PairKernels.MostRows) * 2 * pairs + 16);
            uint* packed = (uint*)(sums + 32 * PairKernels.MostRows);
            PackRows(a, i, height, p, deep, packed);
            for (; panel < last; panel++)
            {
                uint* right = b + panel * panelPairs + (long)(p / 2) * 32;
                int columns = Math.Min(32, n - panel * 32);
                float* bj = p == 0 && bias != null ? bias + panel * 32 : null;
                uint* left = packed;
                for (int r = 0; r < height; r += PairKernels.MostRows)
                {
                    int rows = Math.Min(PairKernels.MostRows, height - r);
                    PairKernels.Run(rows, pairs, left, right, sums);
                    FinishPairs(sums, rows, columns, c + (i + r) * cStride + panel * 32, cStride, alpha, bj, accumulate || p > 0);
                    left += (long)pairs * PairKernels.Stride(rows);
                }
            }
        }
    }

    private static void PackRows(in Operand a, int i, int height, int p, int steps, uint* to)
    {
        for (int r = 0; r < height; r += PairKernels.MostRows)
        {
            int rows = Math.Min(PairKernels.MostRows, height - r), stride = PairKernels.Stride(rows);
            PackLanes(a.Data + (i + r) * a.Row + p * a.Step, a.Row, a.Step, rows, stride, steps, to);
            to += (long)PairsOf(steps) * stride;
        }
    }

    // Element (lane, step) at from[lane · laneStride + step · stepStride], rounded, as pairs of steps: (pairs, width), the lanes from
    // count on and the steps that are missing being zeros.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackLanes(float* from, nint laneStride, nint stepStride, int count, int width, int steps, uint* to)
    {
        int pairs = PairsOf(steps), whole = steps / 2;
        if (laneStride == 1 && count >= 14 && width >= 16) PackAcross(from, stepStride, count, width, whole, to);
        else if (stepStride == 1) PackAlong(from, laneStride, count, width, whole, to);
        else
            for (int p = 0; p < whole; p++)
                for (int lane = 0; lane < width; lane++)
                    to[p * width + lane] = lane < count
                        ? Pair(from[lane * laneStride + 2 * p * stepStride], from[lane * laneStride + (2 * p + 1) * stepStride]) : 0;
        for (int p = whole; p < pairs; p++)
            for (int lane = 0; lane < width; lane++)
                to[p * width + lane] = lane < count && 2 * p < steps ? Pair(from[lane * laneStride + 2 * p * stepStride], 0) : 0;
    }

    // Lanes lie next to each other: two steps are rounded and interleaved, sixteen lanes at a time.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackAcross(float* from, nint stepStride, int count, int width, int pairs, uint* to)
    {
        for (int p = 0; p < pairs; p++, from += 2 * stepStride, to += width)
        {
            float* next = from + stepStride;
            int lane = 0;
            for (; lane + 16 <= count; lane += 16)
                (Rounded(Vector512.Load(from + lane)) | Rounded(Vector512.Load(next + lane)) << 16).Store(to + lane);
            for (; lane + 4 <= count; lane += 4)
                (Rounded(Vector128.Load(from + lane)) | Rounded(Vector128.Load(next + lane)) << 16).Store(to + lane);
            for (; lane < width; lane++) to[lane] = lane < count ? Pair(from[lane], next[lane]) : 0;
        }
    }

    // Steps lie next to each other: lane by lane in chunks, then transposed four by four.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackAlong(float* from, nint laneStride, int count, int width, int pairs, uint* to)
    {
        const int Chunk = 16;
        uint* rounded = stackalloc uint[32 * Chunk];
        for (int p = 0; p < pairs; p += Chunk)
        {
            int some = Math.Min(Chunk, pairs - p);
            for (int lane = 0; lane < width; lane++)
            {
                float* row = from + lane * laneStride + 2 * p;
                uint* target = rounded + lane * Chunk;
                if (lane >= count) new Span<uint>(target, Chunk).Clear();
                else if (some == Chunk) RoundRow(row, target);
                else for (int i = 0; i < some; i++) target[i] = Pair(row[2 * i], row[2 * i + 1]);
            }
            if (width < 4 || some < Chunk)
                for (int i = 0; i < some; i++)
                    for (int lane = 0; lane < width; lane++) to[(p + i) * width + lane] = rounded[lane * Chunk + i];
            else
                for (int lane = 0; lane < width; lane += 4)
                    for (int i = 0; i < Chunk; i += 4)
                        Transpose4((float*)(rounded + lane * Chunk + i), Chunk, (float*)(to + (p + i) * width + lane), width);
        }
    }

    // Thirty-two floats as sixteen pairs.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void RoundRow(float* from, uint* to)
    {
        Vector512<ulong> low = Rounded(Vector512.Load(from)).AsUInt64(), high = Rounded(Vector512.Load(from + 16)).AsUInt64();
        Vector512.Narrow(low | low >> 16, high | high >> 16).Store(to);
    }

    // To bfloat16 in the lower half, to nearest, ties to even; what is not a number stays one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Rounded(Vector512<float> x)
    {
        Vector512<uint> bits = x.AsUInt32(), even = bits >> 16 & Vector512<uint>.One;
        Vector512<uint> nearest = bits + even + Vector512.Create(0x7FFFu) >> 16;
        return Vector512.ConditionalSelect(Vector512.IsNaN(x).AsUInt32(), bits >> 16 | Vector512.Create(0x40u), nearest);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> Rounded(Vector128<float> x)
    {
        Vector128<uint> bits = x.AsUInt32(), even = bits >> 16 & Vector128<uint>.One;
        Vector128<uint> nearest = bits + even + Vector128.Create(0x7FFFu) >> 16;
        return Vector128.ConditionalSelect(Vector128.IsNaN(x).AsUInt32(), bits >> 16 | Vector128.Create(0x40u), nearest);
    }

    private static uint Pair(float first, float second) => DTypes.ToBFloat16(first) | (uint)DTypes.ToBFloat16(second) << 16;

    // C = alpha · sums [+ bias] [+ C]. sums: (rows, 32)
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FinishPairs(float* sums, int rows, int columns, float* c, nint cStride, float alpha, float* bias, bool accumulate)
    {
        Vector512<float> scale = Vector512.Create(alpha);
        for (int r = 0; r < rows; r++, sums += 32, c += cStride)
        {
            int j = 0;
            for (; j + 16 <= columns; j += 16)
            {
                Vector512<float> value = Vector512.Load(sums + j) * scale;
                if (bias != null) value += Vector512.Load(bias + j);
                if (accumulate) value += Vector512.Load(c + j);
                value.Store(c + j);
            }
            for (; j < columns; j++)
            {
                float value = sums[j] * alpha;
                if (bias != null) value += bias[j];
                c[j] = accumulate ? value + c[j] : value;
            }
        }
    }
}
