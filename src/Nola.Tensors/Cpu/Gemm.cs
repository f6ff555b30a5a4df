using System.Runtime.Intrinsics;

namespace Nola.Tensors;

/// <summary>
/// Left operand of a product as the micro-kernels read it: element (i, p) is at <c>Data[i · Row + p · Step]</c>.
/// Row-major: (ld, 1). Transposed: (1, ld).
/// </summary>
internal readonly unsafe struct Operand(float* data, nint row, nint step)
{
    public readonly float* Data = data;
    public readonly nint Row = row, Step = step;

    public Operand At(int i, int p) => new(Data + i * Row + p * Step, Row, Step);
}

/// <summary>
/// Blocked single-precision matrix products on packed panels. A packed right operand B (k × n) is a row of panels of
/// <see cref="PanelWidth"/> columns, each k rows of that many floats, the last one padded with zeros. The order of
/// summation depends on the shapes alone, never on how work is divided.
/// </summary>
internal static unsafe class Gemm
{
    // Rows of A and steps of k that one pass over the panels works on: 224 × 768 floats fit the second-level cache
    // with room for a panel (768 × 32), which in turn is read from there for every 14 rows.
    private const int BlockRows = 224, BlockSteps = 768;

    /// <summary>Columns of a packed panel: two vectors of the widest kind that the machine has.</summary>
    public static int PanelWidth =>
        2 * (Vector512.IsHardwareAccelerated ? 16 : Vector256.IsHardwareAccelerated ? 8 : 4);

    /// <summary>Floats of a packed k × n operand.</summary>
    public static long PackedSize(int k, int n) => (long)Panels(n) * PanelWidth * k;

    public static int Panels(int n) => (n + PanelWidth - 1) / PanelWidth;

    /// <summary>
    /// Packs panels <paramref name="first"/> … <paramref name="last"/> − 1 of B (k × n), element (p, j) at
    /// <c>b[p · rowStride + j · columnStride]</c>, into <paramref name="packed"/>, the start of the whole operand.
    /// </summary>
    public static void Pack(float* b, nint rowStride, nint columnStride, int k, int n, float* packed, int first, int last)
    {
        int width = PanelWidth;
        for (int panel = first; panel < last; panel++)
        {
            float* to = packed + (long)panel * width * k;
            float* from = b + panel * width * columnStride;
            int columns = Math.Min(width, n - panel * width);
            if (columnStride == 1) PackRows(from, rowStride, k, columns, to, width);
            else PackColumns(from, rowStride, columnStride, k, columns, to, width);
        }
    }

    /// <summary>C (m × n) = alpha · A (m × k) · B [+ bias] [+ C], on the calling thread. B is packed; its steps may be
    /// a part of a longer operand whose panels are <paramref name="panelStride"/> floats apart.</summary>
    public static void Block(
        int m, int n, int k, Operand a, float* b, long panelStride, float* c, nint cStride,
        float alpha = 1, float* bias = null, bool accumulate = false)
    {
        if (Vector512.IsHardwareAccelerated)
            Block<Simd512, Vector512<float>>(m, n, k, a, b, panelStride, c, cStride, alpha, bias, accumulate);
        else if (Vector256.IsHardwareAccelerated)
            Block<Simd256, Vector256<float>>(m, n, k, a, b, panelStride, c, cStride, alpha, bias, accumulate);
        else
            Block<Simd128, Vector128<float>>(m, n, k, a, b, panelStride, c, cStride, alpha, bias, accumulate);
    }

    /// <summary>C (m × n) = alpha · A · B [+ bias] [+ C] over the team; B packed whole, its panels PanelWidth · k apart.</summary>
    public static void Multiply(
        ThreadTeam team, int m, int n, int k, Operand a, float* b, float* c, nint cStride,
        float alpha = 1, float* bias = null, bool accumulate = false)
    {
        if (m == 0 || n == 0) return;
        int width = PanelWidth, panels = Panels(n);
        int rowBlocks = (m + BlockRows - 1) / BlockRows;
        int rows = ((m + rowBlocks - 1) / rowBlocks + 13) / 14 * 14;
        rowBlocks = (m + rows - 1) / rows;
        // Enough pieces for the team to end together; a piece of columns is whole panels.
        int wanted = team.Threads == 1 ? 1 : Math.Max(1, 6 * team.Threads / rowBlocks);
        int panelsEach = Math.Max(1, (panels + wanted - 1) / wanted);
        int columnBlocks = (panels + panelsEach - 1) / panelsEach;
        long panelStride = (long)width * k;
        team.For(rowBlocks * columnBlocks, 1, (start, end) =>
        {
            for (int piece = start; piece < end; piece++)
            {
                int i = piece % rowBlocks * rows, panel = piece / rowBlocks * panelsEach, j = panel * width;
                int height = Math.Min(rows, m - i), across = Math.Min(panelsEach * width, n - j);
                float* to = c + i * cStride + j;
                float* bj = bias == null ? null : bias + j;
                int blocks = Math.Max(1, (k + BlockSteps - 1) / BlockSteps), steps = (k + blocks - 1) / blocks;
                for (int p = 0; p < k || p == 0; p += Math.Max(1, steps))
                {
                    Block(height, across, Math.Min(steps, k - p), a.At(i, p), b + panel * panelStride + (long)p * width,
                        panelStride, to, cStride, alpha, p == 0 ? bj : null, accumulate || p > 0);
                }
            }
        });
    }

    internal static void Block<S, V>(
        int m, int n, int k, Operand a, float* b, long panelStride, float* c, nint cStride,
        float alpha, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        int width = 2 * S.Width;
        float* edge = stackalloc float[2 * 16 * 14];
        float* edgeBias = stackalloc float[2 * 16];
        for (int j = 0; j < n; j += width, b += panelStride)
        {
            int columns = Math.Min(width, n - j);
            float* cj = c + j;
            float* bj = bias == null ? null : bias + j;
            if (columns == width)
            {
                Column<S, V>(m, k, a, b, cj, cStride, alpha, bj, accumulate);
                continue;
            }
            if (bj != null)
            {
                new Span<float>(edgeBias, width).Clear();
                new ReadOnlySpan<float>(bj, columns).CopyTo(new Span<float>(edgeBias, width));
                bj = edgeBias;
            }
            // The last panel is padded, C is not: compute into a tile of the full width and copy what exists.
            for (int i = 0; i < m; i += 14)
            {
                int rows = Math.Min(14, m - i);
                Column<S, V>(rows, k, a.At(i, 0), b, edge, width, alpha, bj, false);
                for (int r = 0; r < rows; r++) CopyEdge(edge + r * width, cj + (i + r) * cStride, columns, accumulate);
            }
        }
    }

    // One panel of C: tiles of 14 rows (6 where there are 16 registers), then what is left.
    private static void Column<S, V>(
        int m, int k, Operand a, float* b, float* c, nint cStride, float alpha, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        int i = 0;
        if (S.Width != 8)
        {
            for (; i + 14 <= m; i += 14)
                MicroKernels.Rows14<S, V>(k, a.Data + i * a.Row, a.Row, a.Step, b, c + i * cStride, cStride, alpha, bias, accumulate);
            for (; i + 8 <= m; i += 8)
                MicroKernels.Rows8<S, V>(k, a.Data + i * a.Row, a.Row, a.Step, b, c + i * cStride, cStride, alpha, bias, accumulate);
        }
        for (; i + 6 <= m; i += 6)
            MicroKernels.Rows6<S, V>(k, a.Data + i * a.Row, a.Row, a.Step, b, c + i * cStride, cStride, alpha, bias, accumulate);
        for (; i + 4 <= m; i += 4)
            MicroKernels.Rows4<S, V>(k, a.Data + i * a.Row, a.Row, a.Step, b, c + i * cStride, cStride, alpha, bias, accumulate);
        for (; i + 2 <= m; i += 2)
            MicroKernels.Rows2<S, V>(k, a.Data + i * a.Row, a.Row, a.Step, b, c + i * cStride, cStride, alpha, bias, accumulate);
        if (i < m)
            MicroKernels.Rows1<S, V>(k, a.Data + i * a.Row, a.Row, a.Step, b, c + i * cStride, cStride, alpha, bias, accumulate);
    }

    private static void CopyEdge(float* from, float* to, int count, bool accumulate)
    {
        if (accumulate) for (int j = 0; j < count; j++) to[j] += from[j];
        else for (int j = 0; j < count; j++) to[j] = from[j];
    }

    private static void PackRows(float* from, nint stride, int k, int columns, float* to, int width)
    {
        for (int p = 0; p < k; p++, from += stride, to += width)
        {
            Span<float> row = new(to, width);
            new ReadOnlySpan<float>(from, columns).CopyTo(row);
            row[columns..].Clear();
        }
    }

    // Sixteen steps at a time, so that each cache line of the source is used whole before it leaves.
    private static void PackColumns(float* from, nint rowStride, nint columnStride, int k, int columns, float* to, int width)
    {
        for (int p0 = 0; p0 < k; p0 += 16)
        {
            int p1 = Math.Min(k, p0 + 16);
            for (int j = 0; j < width; j++)
            {
                float* column = from + j * columnStride;
                if (j < columns) for (int p = p0; p < p1; p++) to[(long)p * width + j] = column[p * rowStride];
                else for (int p = p0; p < p1; p++) to[(long)p * width + j] = 0;
            }
        }
    }
}
