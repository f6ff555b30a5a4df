using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

internal static unsafe partial class Gemm
{
    // Steps that are packed at a time: a cache line of a transposed source.
    private const int PackSteps = 16;

    /// <summary>Columns of a packed panel: two vectors of the widest kind that the machine has.</summary>
    public static int PanelWidth =>
        2 * (Vector512.IsHardwareAccelerated ? 16 : Vector256.IsHardwareAccelerated ? 8 : 4);

    public static int Panels(int n) => (n + PanelWidth - 1) / PanelWidth;

    /// <summary>Packs B (k × n), element (p, j) at <c>b[p · rowStride + j · columnStride]</c>, over the team.</summary>
    public static void Pack(ThreadTeam team, float* b, nint rowStride, nint columnStride, int k, int n, float* packed)
    {
        // At least 16 Ki floats a piece: below that, sharing costs more than it gives.
        int steps = Math.Max(PackSteps, 16384 / Math.Max(1, n) / PackSteps * PackSteps);
        team.For(k, steps, (first, last) => PackSome(b, rowStride, columnStride, k, n, packed, first, last));
    }

    /// <summary>As above, on the calling thread.</summary>
    public static void Pack(float* b, nint rowStride, nint columnStride, int k, int n, float* packed) =>
        PackSome(b, rowStride, columnStride, k, n, packed, 0, k);

    // A few steps of all panels at a time: the source is read in order, and each panel gets whole cache lines.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackSome(float* b, nint rowStride, nint columnStride, int k, int n, float* packed, int first, int last)
    {
        int width = PanelWidth;
        for (int p = first; p < last; p += PackSteps)
        {
            int steps = Math.Min(PackSteps, last - p);
            for (int j = 0; j < n; j += width)
            {
                float* from = b + p * rowStride + j * columnStride;
                float* to = packed + (long)j * k + (long)p * width;
                if (n - j < width) PackEdge(from, rowStride, columnStride, steps, n - j, to);
                else if (columnStride == 1) PackRows(from, rowStride, steps, to);
                else PackColumns(from, rowStride, columnStride, steps, to);
            }
        }
    }

    /// <summary>
    /// Steps <paramref name="step"/> … of a panel of Wᵀ, whose panels are of rows, from the panels of W (rows × columns), which are
    /// of columns. to: (steps, width); what stands for rows that W does not have is zeros.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void TransposePanel(float* w, int rows, int columns, int panel, int step, int steps, float* to)
    {
        int width = PanelWidth, i = panel * width, count = Math.Min(width, rows - i);
        for (int o = step, some; o < step + steps; o += some, to += some * width)
        {
            some = Math.Min(width - o % width, step + steps - o);
            float* from = w + (long)(o / width) * rows * width + (long)i * width + o % width;
            if (count < width || some < width)
                for (int p = 0; p < some; p++)
                    for (int r = 0; r < width; r++) to[p * width + r] = r < count ? from[r * width + p] : 0;
            else
                for (int r = 0; r < width; r += 4)
                    for (int p = 0; p < width; p += 4)
                        Transpose4(from + r * width + p, width, to + p * width + r, width);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackRows(float* from, nint stride, int steps, float* to)
    {
        int width = PanelWidth;
        for (int p = 0; p < steps; p++, from += stride, to += width)
        {
            if (Vector512.IsHardwareAccelerated)
            {
                Vector512.Load(from).Store(to);
                Vector512.Load(from + 16).Store(to + 16);
            }
            else
            {
                for (int j = 0; j < width; j += 4) Vector128.Load(from + j).Store(to + j);
            }
        }
    }

    // Columns of the source lie next to each other in k: sixteen by sixteen or four by four through registers.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackColumns(float* from, nint rowStride, nint columnStride, int steps, float* to)
    {
        int width = PanelWidth, whole = rowStride == 1 ? steps & ~3 : 0;
        if (width == 2 * Lanes && Avx512F.IsSupported && rowStride == 1 && steps == Lanes)
        {
            Square((uint*)from, columnStride, (uint*)to, width);
            Square((uint*)(from + Lanes * columnStride), columnStride, (uint*)(to + Lanes), width);
            return;
        }
        for (int j = 0; j < width; j += 4)
            for (int p = 0; p < whole; p += 4)
                Transpose4(from + p + j * columnStride, columnStride, to + p * width + j, width);
        for (int p = whole; p < steps; p++)
            for (int j = 0; j < width; j++) to[p * width + j] = from[p * rowStride + j * columnStride];
    }

    private static int TileStride => (TileRows + 7) & ~7;

    private static nint PackedTilesSize(int rows, int steps) => (nint)((rows + TileRows - 1) / TileRows) * TileStride * steps;

    /// <summary>Packs rows of A in tiles: a tile is read in order, a cache line for each step.</summary>
    private static Operand PackTiles(in Operand a, int rows, int steps, float* packed)
    {
        int tile = TileRows, stride = TileStride;
        nint size = (nint)stride * steps;
        float* to = packed;
        for (int i = 0; i < rows; i += tile, to += size)
        {
            float* from = a.Data + i * a.Row;
            int count = Math.Min(tile, rows - i);
            if (a.Row == 1) CopyTile(from, a.Step, count, steps, to, stride);
            else TransposeTile(from, a.Row, count, steps, to, stride);
        }
        return new Operand(packed, 1, stride, size);
    }

    // Rows that lie a multiple of 4 KiB apart, a little further apart: those of a tile do not push each other out of the first-level cache.
    private static Operand PadRows(in Operand a, int rows, int steps, float* padded)
    {
        nint stride = PaddedStride(steps);
        for (int r = 0; r < rows; r++)
            new ReadOnlySpan<float>(a.Data + r * a.Row, steps).CopyTo(new Span<float>(padded + r * stride, steps));
        return new Operand(padded, stride, 1);
    }

    private static nint PaddedStride(int steps) => (steps + 15 & ~15) + 16;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void CopyTile(float* from, nint step, int rows, int steps, float* to, int stride)
    {
        int whole = rows & ~3;
        for (int p = 0; p < steps; p++, from += step, to += stride)
        {
            for (int r = 0; r < whole; r += 4) Vector128.Load(from + r).Store(to + r);
            for (int r = whole; r < rows; r++) to[r] = from[r];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TransposeTile(float* from, nint row, int rows, int steps, float* to, int stride)
    {
        int whole = rows & ~3, wholeSteps = steps & ~3;
        for (int p = 0; p < wholeSteps; p += 4)
            for (int r = 0; r < whole; r += 4)
                Transpose4(from + r * row + p, row, to + (nint)p * stride + r, stride);
        for (int r = 0; r < rows; r++)
            for (int p = r < whole ? wholeSteps : 0; p < steps; p++) to[(nint)p * stride + r] = from[r * row + p];
    }

    /// <summary>to (columns, rows) = fromᵀ [+ to], with the floats from one row to the next of each. from: (rows, columns)</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Transpose(float* from, int rows, int columns, nint fromStride, float* to, nint stride, bool accumulate = false)
    {
        float* four = stackalloc float[16];
        int wholeRows = rows & ~3, wholeColumns = columns & ~3;
        for (int j = 0; j < wholeRows; j += 4)
            for (int i = 0; i < wholeColumns; i += 4)
            {
                Transpose4(from + j * fromStride + i, fromStride, four, 4);
                for (int r = 0; r < 4; r++)
                {
                    float* target = to + (i + r) * stride + j;
                    Vector128<float> value = Vector128.Load(four + 4 * r);
                    (accumulate ? value + Vector128.Load(target) : value).Store(target);
                }
            }
        for (int j = 0; j < rows; j++)
            for (int i = j < wholeRows ? wholeColumns : 0; i < columns; i++)
            {
                float* target = to + i * stride + j;
                *target = accumulate ? *target + from[j * fromStride + i] : from[j * fromStride + i];
            }
    }

    // to[p · toStride + r] = from[r · fromStride + p] for r, p in 0 … 3.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Transpose4(float* from, nint fromStride, float* to, nint toStride)
    {
        Vector128<float> a = Vector128.Load(from), b = Vector128.Load(from + fromStride);
        Vector128<float> c = Vector128.Load(from + 2 * fromStride), d = Vector128.Load(from + 3 * fromStride);
        Vector128<float> ac = Interleave(a, c, out Vector128<float> acHigh), bd = Interleave(b, d, out Vector128<float> bdHigh);
        Interleave(ac, bd, out Vector128<float> second).Store(to);
        second.Store(to + toStride);
        Interleave(acHigh, bdHigh, out Vector128<float> fourth).Store(to + 2 * toStride);
        fourth.Store(to + 3 * toStride);
    }

    // a0 b0 a1 b1, and a2 b2 a3 b3.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector128<float> Interleave(Vector128<float> a, Vector128<float> b, out Vector128<float> high)
    {
        if (Sse.IsSupported)
        {
            high = Sse.UnpackHigh(a, b);
            return Sse.UnpackLow(a, b);
        }
        if (AdvSimd.Arm64.IsSupported)
        {
            high = AdvSimd.Arm64.ZipHigh(a, b);
            return AdvSimd.Arm64.ZipLow(a, b);
        }
        high = Vector128.Create(a[2], b[2], a[3], b[3]);
        return Vector128.Create(a[0], b[0], a[1], b[1]);
    }

    // The last panel: the columns that B has, then zeros.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackEdge(float* from, nint rowStride, nint columnStride, int steps, int columns, float* to)
    {
        int width = PanelWidth, whole = rowStride == 1 ? columns & ~3 : 0, wholeSteps = steps & ~3, square = 0;
        new Span<float>(to, steps * width).Clear();
        if (width == 2 * Lanes && Avx512F.IsSupported && rowStride == 1 && steps == Lanes && columns >= Lanes)
        {
            Square((uint*)from, columnStride, (uint*)to, width);
            square = Lanes;
        }
        for (int j = square; j < whole; j += 4)
            for (int p = 0; p < wholeSteps; p += 4)
                Transpose4(from + p + j * columnStride, columnStride, to + p * width + j, width);
        for (int p = 0; p < steps; p++)
            for (int j = p < wholeSteps ? whole : 0; j < columns; j++) to[p * width + j] = from[p * rowStride + j * columnStride];
    }
}
