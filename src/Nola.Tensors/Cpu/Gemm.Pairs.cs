using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

internal static unsafe partial class Gemm
{
    // Packed rows of A that stay in the second-level cache, in step pairs; and the tiles of rows that a panel serves that is made for
    // them: more, which are read from the third level, since making it takes as long as a dozen of them.
    private const int BlockPairs = 128 * 1024, MadeTiles = 64;

    // Elements of the vectors that pack pairs; and the step pairs that are packed for all lanes before those that follow, where lanes
    // lie next to each other: so that what a cache line or a page holds for the next lanes is still there when they are packed.
    private const int Lanes = 16, PairRun = 16;

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
        int panels = Panels(n), pairs = PairsOf(k), runs = (pairs + PairRun - 1) / PairRun;
        if (columnStride == 1)
            team.For(runs, 1, (first, last) =>
            {
                for (int run = first; run < last; run++)
                    for (int i = 0; i < panels; i++) Pack(i, run * PairRun, Math.Min(pairs, (run + 1) * PairRun));
            });
        else
            team.For(panels, 1, (first, last) =>
            {
                for (int i = first; i < last; i++) Pack(i, 0, pairs);
            });

        void Pack(int i, int first, int last) => PackLanes(
            b + i * 32 * columnStride + 2 * first * rowStride, columnStride, rowStride, Math.Min(32, n - i * 32), 32,
            Math.Min(k - 2 * first, 2 * (last - first)), last - first, packed + ((long)i * pairs + first) * 32);
    }

    /// <summary>A panel of (steps, 32) floats.</summary>
    public static void PackPairs(float* panel, int steps, uint* packed) => PackLanes(panel, 1, 32, 32, 32, steps, PairsOf(steps), packed);

    /// <summary>
    /// C (m × n) = alpha · A · B [+ bias] [+ C] over the team, of A rounded to bfloat16 and of packed pairs, or of panels that are made
    /// and rounded, with float32 sums. The order of summation depends on the shapes alone.
    /// </summary>
    private static void MultiplyPairs(
        ThreadTeam team, int m, int n, int k, Operand a, Panels b, float* c, nint cStride,
        float alpha, float* bias, bool accumulate, Epilogue? after)
    {
        int panels = Panels(n), tiles = (m + PairKernels.MostRows - 1) / PairKernels.MostRows;
        // A whole number of turns, so that blocks of steps begin where a turn does.
        int steps = 2 * PairsOf(StepsOf(k));
        int most = b.AreMade ? MadeTiles : Math.Clamp(BlockPairs / (steps / 2) / 16, 1, 32), rowBlocks = (tiles + most - 1) / most;
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
            long rowPairs = (long)(height + PairKernels.MostRows) * 2 * pairs + 16;
            float* sums = Scratch.Floats(32 * PairKernels.MostRows + rowPairs + (b.AreMade ? 32L * (pairs + deep) : 0));
            float* scale = stackalloc float[32];
            new Span<float>(scale, 32).Fill(alpha);
            uint* packed = (uint*)(sums + 32 * PairKernels.MostRows), made = packed + rowPairs;
            PackRows(a, i, height, p, deep, packed);
            for (; panel < last; panel++)
            {
                uint* right = b.AreMade ? made : b.Pairs + panel * panelPairs + (long)(p / 2) * 32;
                if (b.AreMade)
                {
                    float* wide = (float*)(made + 32L * pairs);
                    b.Make(panel, p, deep, wide);
                    PackPairs(wide, deep, made);
                }
                int columns = Math.Min(32, n - panel * 32);
                float* bj = p == 0 && bias != null ? bias + panel * 32 : null;
                if (b.Scales(panel) is var scales and not null) Scaled(alpha, scales, columns, scale);
                uint* left = packed;
                for (int r = 0; r < height; r += PairKernels.MostRows)
                {
                    int rows = Math.Min(PairKernels.MostRows, height - r);
                    float* to = c + (i + r) * cStride + panel * 32;
                    FetchRows(to, cStride, rows);
                    PairKernels.Run(rows, pairs, left, right, sums);
                    FinishPairs(sums, rows, columns, to, cStride, scale, bj, accumulate || p > 0);
                    left += (long)pairs * PairKernels.Stride(rows);
                }
            }
        }
    }

    private static void PackRows(in Operand a, int i, int height, int p, int steps, uint* to)
    {
        int pairs = PairsOf(steps), run = a.Row == 1 ? PairRun : pairs;
        for (int first = 0; first < pairs; first += run)
            for (int r = 0; r < height; r += PairKernels.MostRows)
            {
                int rows = Math.Min(PairKernels.MostRows, height - r), some = Math.Min(run, pairs - first);
                int stride = PairKernels.Stride(rows);
                PackLanes(
                    a.Data + (i + r) * a.Row + (p + 2 * first) * a.Step, a.Row, a.Step, rows, stride,
                    Math.Min(steps - 2 * first, 2 * some), some,
                    to + (long)pairs * PairKernels.Stride(PairKernels.MostRows) * (r / PairKernels.MostRows) + first * stride);
            }
    }

    // Element (lane, step) at from[lane · laneStride + step · stepStride], rounded, as pairs of steps: (pairs, width), the lanes from
    // count on and the steps that are missing being zeros.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackLanes(float* from, nint laneStride, nint stepStride, int count, int width, int steps, int pairs, uint* to)
    {
        int whole = Math.Max(0, steps / 2);
        if (laneStride == 1 && width >= 16) PackAcross(from, stepStride, count, width, whole, to);
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

    // Lanes lie next to each other: two steps are rounded and interleaved, sixteen lanes at a time. width: 16 or 32
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackAcross(float* from, nint stepStride, int count, int width, int pairs, uint* to)
    {
        int whole = count & -Lanes;
        Vector512<float> rest = Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(count - whole)).AsSingle();
        for (int p = 0; p < pairs; p++, from += 2 * stepStride, to += width)
        {
            float* next = from + stepStride;
            int lane = 0;
            for (; lane < whole; lane += Lanes) Interleaved(Vector512.Load(from + lane), Vector512.Load(next + lane)).Store(to + lane);
            if (lane < count)
            {
                Interleaved(
                    Avx512F.MaskLoad(from + lane, rest, Vector512<float>.Zero),
                    Avx512F.MaskLoad(next + lane, rest, Vector512<float>.Zero)).Store(to + lane);
                lane += Lanes;
            }
            for (; lane < width; lane += Lanes) Vector512<uint>.Zero.Store(to + lane);
        }
    }

    // Steps lie next to each other: long pieces of each lane are rounded one after the other, then transposed.
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackAlong(float* from, nint laneStride, int count, int width, int pairs, uint* to)
    {
        const int Piece = 128;
        uint* rounded = stackalloc uint[32 * Piece];
        for (int p = 0; p < pairs; p += Piece)
        {
            int some = Math.Min(Piece, pairs - p), whole = some & -Lanes;
            for (int lane = 0; lane < count; lane++)
            {
                float* row = from + lane * laneStride + 2 * p;
                uint* target = rounded + lane * Piece;
                for (int i = 0; i < whole; i += Lanes)
                    Paired(Vector512.Load(row + 2 * i), Vector512.Load(row + 2 * i + Lanes)).Store(target + i);
                for (int i = whole; i < some; i++) target[i] = Pair(row[2 * i], row[2 * i + 1]);
            }
            for (int lane = count; lane < width; lane++) new Span<uint>(rounded + lane * Piece, some).Clear();
            if (width < Lanes) whole = 0;
            for (int i = 0; i < whole; i += Lanes)
                for (int lane = 0; lane < width; lane += Lanes)
                    Square(rounded + lane * Piece + i, Piece, to + (p + i) * width + lane, width);
            for (int i = whole; i < some; i++)
                for (int lane = 0; lane < width; lane++) to[(p + i) * width + lane] = rounded[lane * Piece + i];
        }
    }

    // to[c · stride + r] = from[r · fromStride + c] of 16 × 16: a vector holds four elements of each of four rows, so that four vectors
    // transposed in their quarters are four whole rows of the result.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Square(uint* from, nint fromStride, uint* to, nint stride)
    {
        for (int c = 0; c < Lanes; c += 4, to += 4 * stride)
        {
            Vector512<uint> a = Quarters(from + c, fromStride), b = Quarters(from + c + fromStride, fromStride);
            Vector512<uint> d = Quarters(from + c + 2 * fromStride, fromStride), e = Quarters(from + c + 3 * fromStride, fromStride);
            Vector512<ulong> low = Avx512F.UnpackLow(a, b).AsUInt64(), low2 = Avx512F.UnpackLow(d, e).AsUInt64();
            Vector512<ulong> high = Avx512F.UnpackHigh(a, b).AsUInt64(), high2 = Avx512F.UnpackHigh(d, e).AsUInt64();
            Avx512F.UnpackLow(low, low2).AsUInt32().Store(to);
            Avx512F.UnpackHigh(low, low2).AsUInt32().Store(to + stride);
            Avx512F.UnpackLow(high, high2).AsUInt32().Store(to + 2 * stride);
            Avx512F.UnpackHigh(high, high2).AsUInt32().Store(to + 3 * stride);
        }
    }

    // Four elements of rows 0, 4, 8 and 12.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Quarters(uint* from, nint stride) => Vector512.Create(
        Vector256.Create(Vector128.Load(from), Vector128.Load(from + 4 * stride)),
        Vector256.Create(Vector128.Load(from + 8 * stride), Vector128.Load(from + 12 * stride)));

    // Sixteen pairs of an element of each.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Interleaved(Vector512<float> first, Vector512<float> second)
    {
        if (HasNaN(first, second)) return Quieted(first) >> 16 | Quieted(second) & Vector512.Create(0xFFFF0000u);
        return Nearest(first) >> 16 | Nearest(second) & Vector512.Create(0xFFFF0000u);
    }

    // Sixteen pairs of neighbors among thirty-two elements.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Paired(Vector512<float> low, Vector512<float> high)
    {
        Vector512<ushort> upper = (Vector512<ushort>.Indices << 1) + Vector512<ushort>.One;
        return HasNaN(low, high)
            ? Avx512BW.PermuteVar32x16x2(Quieted(low).AsUInt16(), upper, Quieted(high).AsUInt16()).AsUInt32()
            : Avx512BW.PermuteVar32x16x2(Nearest(low).AsUInt16(), upper, Nearest(high).AsUInt16()).AsUInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool HasNaN(Vector512<float> x, Vector512<float> y) =>
        Avx512F.CompareUnordered(x, y).ExtractMostSignificantBits() != 0;

    // To bfloat16 in the upper half of each number, to nearest, ties to even; the lower half is arbitrary.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Nearest(Vector512<float> x)
    {
        Vector512<uint> bits = x.AsUInt32();
        return bits + (bits >> 16 & Vector512<uint>.One) + Vector512.Create(0x7FFFu);
    }

    // The same, and what is not a number stays one.
    private static Vector512<uint> Quieted(Vector512<float> x) =>
        Vector512.ConditionalSelect(Vector512.IsNaN(x).AsUInt32(), x.AsUInt32() | Vector512.Create(0x400000u), Nearest(x));

    private static uint Pair(float first, float second) => DTypes.ToBFloat16(first) | (uint)DTypes.ToBFloat16(second) << 16;

    // C = sums · diag(scale) [+ bias] [+ C]. sums: (rows, 32)
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FinishPairs(float* sums, int rows, int columns, float* c, nint cStride, float* scale, float* bias, bool accumulate)
    {
        for (int r = 0; r < rows; r++, sums += 32, c += cStride)
        {
            int j = 0;
            for (; j + 16 <= columns; j += 16)
            {
                Vector512<float> value = Vector512.Load(sums + j) * Vector512.Load(scale + j);
                if (bias != null) value += Vector512.Load(bias + j);
                if (accumulate) value += Vector512.Load(c + j);
                value.Store(c + j);
            }
            for (; j < columns; j++)
            {
                float value = sums[j] * scale[j];
                if (bias != null) value += bias[j];
                c[j] = accumulate ? value + c[j] : value;
            }
        }
    }
}
