using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

/// <summary>
/// Left operand of a product as the micro-kernels read it: element (i, p) is at <c>Data[i · Row + p · Step]</c>.
/// Row-major: (ld, 1). Transposed: (1, ld). Packed in tiles of rows: (1, rows of a tile with their padding), and row i is
/// row i mod <see cref="Gemm.TileRows"/> of the tile at i / TileRows · <see cref="Tile"/>.
/// </summary>
internal readonly unsafe struct Operand(float* data, nint row, nint step, nint tile = 0)
{
    public readonly float* Data = data;
    public readonly nint Row = row, Step = step, Tile = tile;

    /// <summary>The operand without its first i rows and p steps. Not for packed ones.</summary>
    public Operand At(int i, int p) => new(Data + i * Row + p * Step, Row, Step);

    /// <summary>Where row i starts.</summary>
    public float* RowAt(int i) => Tile == 0 ? Data + i * Row : Data + i / Gemm.TileRows * Tile + i % Gemm.TileRows * Row;
}

/// <summary>
/// Blocked single-precision matrix products on packed panels. A packed right operand B (k × n) is a row of panels of
/// <see cref="PanelWidth"/> columns, each k rows of that many floats, the last one padded with zeros. The order of
/// summation depends on the shapes alone, never on how work is divided.
/// </summary>
internal static unsafe partial class Gemm
{
    // A block of A, rows times steps of k, stays in the second-level cache with room for a panel of B, which is read from
    // there for every tile. Tiles that are packed are padded, and share the cache with what they are packed from.
    private const int BlockSteps = 1024, BlockFloats = 224 * 768, PackedBlockFloats = 128 * 768;

    // Steps of a transposed A that few panels use: read in the order in which it lies, and again from the cache for the next tile.
    private const int NarrowSteps = 128;

    // Steps that are few, and what such a B may have to be read again for each tile of rows.
    private const int FewSteps = 32, FewStepsFloats = 32768;

    /// <summary>Rows of the largest micro-kernel: 28 sums and four more vectors fill 32 registers, 12 sums AVX2's sixteen.</summary>
    public static int TileRows => PanelWidth == 16 ? 6 : 14;

    /// <summary>C (m × n) = alpha · A (m × k) · B [· diag(scales)] [+ bias] [+ C], on the calling thread. B is packed; its steps may
    /// be a part of a longer operand whose panels are <paramref name="panelStride"/> floats apart.</summary>
    public static void Block(
        int m, int n, int k, Operand a, float* b, long panelStride, float* c, nint cStride,
        float alpha = 1, float* bias = null, bool accumulate = false, float* scales = null)
    {
        if (Vector512.IsHardwareAccelerated)
            Block<Simd512, Vector512<float>>(m, n, k, a, b, panelStride, c, cStride, alpha, bias, accumulate, scales);
        else if (Vector256.IsHardwareAccelerated)
            Block<Simd256, Vector256<float>>(m, n, k, a, b, panelStride, c, cStride, alpha, bias, accumulate, scales);
        else
            Block<Simd128, Vector128<float>>(m, n, k, a, b, panelStride, c, cStride, alpha, bias, accumulate, scales);
    }

    /// <summary>What is done to a finished rectangle of C while it is in the cache.</summary>
    public delegate void Epilogue(int row, int column, int rows, int columns);

    /// <summary>C (m × n) = alpha · A · B [+ bias] [+ C] over the team; B packed whole, its panels PanelWidth · k apart.</summary>
    public static void Multiply(
        ThreadTeam team, int m, int n, int k, Operand a, Panels b, float* c, nint cStride,
        float alpha = 1, float* bias = null, bool accumulate = false, Epilogue? after = null)
    {
        if (m == 0 || n == 0) return;
        // Codes of one row take as long as reading them; making pairs of them would take many times that.
        if (b.Pairs != null || (b.AreRounded && m > 1))
        {
            MultiplyPairs(team, m, n, k, a, b, c, cStride, alpha, bias, accumulate, after);
            return;
        }
        int width = PanelWidth, panels = Panels(n), tiles = (m + TileRows - 1) / TileRows;
        bool pack = ShouldPack(a, m, panels);
        // Of few columns an element of A is used once or twice, which packing does not pay for.
        bool narrow = !pack && panels <= 2 && !b.AreMade;
        int steps = narrow && a.Step != 1 ? StepsOf(k, NarrowSteps) : StepsOf(k);
        bool pad = narrow && a.Step == 1 && a.Row % 1024 == 0 && m > 1;
        // Enough pieces for the team to end together: rows are shared out by tiles, columns by panels. What is packed
        // is packed once, so then pieces are rows only.
        // A panel that is made anew for each block of rows asks for more of them.
        int share = b.AreMade ? 2 : 1;
        int most = Math.Clamp(share * (pack ? PackedBlockFloats : BlockFloats) / steps / TileRows, 1, share * 16);
        int rowBlocks = (tiles + most - 1) / most;
        if (pack) rowBlocks = Math.Min(tiles, (rowBlocks + team.Threads - 1) / team.Threads * team.Threads);
        int columnBlocks = pack || team.Threads == 1 ? 1 : Math.Clamp(6 * team.Threads / rowBlocks, 1, panels);
        long panelStride = (long)width * k;
        team.For(rowBlocks * columnBlocks, 1, (start, end) =>
        {
            for (int piece = start; piece < end; piece++)
            {
                int row = piece % rowBlocks, column = piece / rowBlocks;
                int i = Share(tiles, row, rowBlocks) * TileRows, height = Math.Min(m, Share(tiles, row + 1, rowBlocks) * TileRows) - i;
                int panel = Share(panels, column, columnBlocks), j = panel * width;
                int across = Math.Min(n, Share(panels, column + 1, columnBlocks) * width) - j;
                // One tile of rows stays in the cache beside B, which is then read as it lies, panel by panel.
                int group = height <= TileRows && !pack ? (height == 1 ? 4 * width : width) : across;
                // Of few steps most of the work is to read and write C: tile by tile of rows, along them, with all of B in the cache.
                bool few = k <= FewSteps && !pack && !b.AreMade;
                int rowsAtOnce = few || pad ? TileRows : height;
                if (few && height > TileRows) group = Math.Min(across, FewStepsFloats / Math.Max(1, k) / width * width);
                for (int g = 0; g < across; g += group)
                    for (int r = 0; r < height; r += rowsAtOnce)
                        Stripe(i + r, Math.Min(rowsAtOnce, height - r), panel + g / width, Math.Min(group, across - g));
                after?.Invoke(i, j, height, across);
            }
        });

        // Some rows by some panels, block after block of steps.
        void Stripe(int i, int height, int panel, int columns)
        {
            nint tileFloats = pack ? PackedTilesSize(height, steps) : 0;
            if (pad) tileFloats = height * PaddedStride(steps);
            float* scratch = pack || pad || b.AreMade ? Scratch.Floats(tileFloats + (b.AreMade ? steps * width : 0)) : null;
            for (int p = 0; p < k || p == 0; p += steps)
            {
                int deep = Math.Min(steps, k - p), j = panel * width;
                bool adds = accumulate || p > 0;
                Operand left = a.At(i, p);
                if (pack) left = PackTiles(left, height, deep, scratch);
                else if (pad) left = PadRows(left, height, deep, scratch);
                float* to = c + i * cStride + j, first = p == 0 && bias != null ? bias + j : null;
                if (b.AreMade) Made(panel, p, deep, height, columns, left, scratch + tileFloats, to, first, adds);
                else
                {
                    float* from = b.Floats + panel * panelStride + (long)p * width;
                    Block(height, columns, deep, left, from, panelStride, to, cStride, alpha, first, adds);
                }
            }
        }

        // A panel at a time as float32, in the cache; it serves all these rows.
        void Made(int panel, int p, int deep, int height, int columns, Operand left, float* wide, float* to, float* first, bool adds)
        {
            if (height == 1 && alpha == 1 && b.Straight is { } weight)
            {
                OneRow(weight, panel, p, deep, columns, left, to, first, adds);
                return;
            }
            for (int q = 0; q < columns; q += width, panel++)
            {
                b.Make(panel, p, deep, wide);
                float* own = first == null ? null : first + q;
                Block(height, Math.Min(width, columns - q), deep, left, wide, 0, to + q, cStride, alpha, own, adds, b.Scales(panel));
            }
        }
    }

    // One row needs each value once: it is not written to the cache before.
    private static void OneRow(
        PackedWeight weight, int panel, int step, int steps, int columns, Operand x, float* c, float* bias, bool accumulate)
    {
        const int Together = 4;
        int width = PanelWidth;
        float* sums = stackalloc float[Together * 32];
        for (int j = 0; j < columns; j += Together * width, panel += Together)
        {
            int some = Math.Min(Together * width, columns - j);
            weight.Row(panel, Panels(some), step, steps, x.Data, x.Step, sums);
            float* scales = weight.Scales(panel);
            for (int i = 0; i < some; i++)
            {
                float sum = scales == null ? sums[i] : sums[i] * scales[i];
                if (bias != null) sum += bias[j + i];
                c[j + i] = accumulate ? sum + c[j + i] : sum;
            }
        }
    }

    /// <summary>Steps of k that are summed at once; the sums of blocks of them are added in order.</summary>
    internal static int StepsOf(int k, int most = BlockSteps)
    {
        int blocks = Math.Max(1, (k + most - 1) / most);
        return Math.Max(1, (k + blocks - 1) / blocks);
    }

    internal static int Share(int items, int part, int parts) => (int)((long)items * part / parts);

    // Rows a multiple of 4 KiB apart fall into one set of the first-level cache, fourteen at a time; a transposed A is
    // read a cache line for each step. Both are worth packing when enough panels use it.
    private static bool ShouldPack(in Operand a, int m, int panels) =>
        m >= 4 * TileRows && panels >= 3 && (a.Step != 1 || a.Row % 1024 == 0);

    [SkipLocalsInit]
    internal static void Block<S, V>(
        int m, int n, int k, Operand a, float* b, long panelStride, float* c, nint cStride,
        float alpha, float* bias, bool accumulate, float* scales = null)
        where S : struct, ISimd<V>
        where V : struct
    {
        int width = 2 * S.Width;
        float* edge = stackalloc float[2 * 16 * 14];
        float* edgeBias = stackalloc float[2 * 16];
        float* scale = stackalloc float[2 * 16];
        new Span<float>(scale, width).Fill(alpha);
        for (int j = 0; j < n; j += width, b += panelStride)
        {
            int columns = Math.Min(width, n - j);
            float* cj = c + j;
            if (scales != null) Scaled(alpha, scales + j, columns, scale);
            float* bj = bias == null ? null : bias + j;
            if (columns == width)
            {
                Column<S, V>(m, k, a, b, cj, cStride, scale, bj, accumulate);
                continue;
            }
            if (bj != null)
            {
                new Span<float>(edgeBias, width).Clear();
                new ReadOnlySpan<float>(bj, columns).CopyTo(new Span<float>(edgeBias, width));
                bj = edgeBias;
            }
            // The last panel is padded, C is not: compute into a tile of the full width and copy what exists. Half a panel takes half.
            int half = 0;
            if (columns <= S.Width && (a.Tile == 0 || TileRows == 14))
            {
                for (; half + 14 <= m; half += 14)
                {
                    bool whole = columns == S.Width;
                    float* to = whole ? cj + half * cStride : edge;
                    nint stride = whole ? cStride : S.Width;
                    MicroKernels.Half14<S, V>(k, a.RowAt(half), a.Row, a.Step, b, to, stride, scale, bj, whole && accumulate);
                    for (int r = 0; r < 14 && !whole; r++) CopyEdge(edge + r * S.Width, cj + (half + r) * cStride, columns, accumulate);
                }
            }
            for (int i = half; i < m; i += TileRows)
            {
                int rows = Math.Min(TileRows, m - i);
                Column<S, V>(rows, k, a.Tile == 0 ? a.At(i, 0) : new(a.RowAt(i), a.Row, a.Step, a.Tile), b, edge, width, scale, bj, false);
                for (int r = 0; r < rows; r++) CopyEdge(edge + r * width, cj + (i + r) * cStride, columns, accumulate);
            }
        }
    }

    // One panel of C: tiles of 14 rows (6 where there are 16 registers), then what is left.
    private static void Column<S, V>(
        int m, int k, Operand a, float* b, float* c, nint cStride, float* scale, float* bias, bool accumulate)
        where S : struct, ISimd<V>
        where V : struct
    {
        int i = 0;
        if (S.Width != 8)
        {
            for (; i + 14 <= m; i += 14)
            {
                FetchRows(c + i * cStride, cStride, 14);
                MicroKernels.Rows14<S, V>(k, a.RowAt(i), a.Row, a.Step, b, c + i * cStride, cStride, scale, bias, accumulate);
            }
            for (; i + 8 <= m; i += 8)
                MicroKernels.Rows8<S, V>(k, a.RowAt(i), a.Row, a.Step, b, c + i * cStride, cStride, scale, bias, accumulate);
        }
        for (; i + 6 <= m; i += 6)
            MicroKernels.Rows6<S, V>(k, a.RowAt(i), a.Row, a.Step, b, c + i * cStride, cStride, scale, bias, accumulate);
        for (; i + 4 <= m; i += 4)
            MicroKernels.Rows4<S, V>(k, a.RowAt(i), a.Row, a.Step, b, c + i * cStride, cStride, scale, bias, accumulate);
        for (; i + 2 <= m; i += 2)
            MicroKernels.Rows2<S, V>(k, a.RowAt(i), a.Row, a.Step, b, c + i * cStride, cStride, scale, bias, accumulate);
        if (i < m)
            MicroKernels.Rows1<S, V>(k, a.RowAt(i), a.Row, a.Step, b, c + i * cStride, cStride, scale, bias, accumulate);
    }

    // A tile's sums are stored only after all its steps: its rows can be on their way to the second-level cache meanwhile. Not
    // to the first, where rows of a large power of two apart would push each other and the operands out.
    private static void FetchRows(float* c, nint stride, int rows)
    {
        if (!Sse.IsSupported) return;
        for (; rows > 0; rows--, c += stride)
        {
            Sse.Prefetch1(c);
            Sse.Prefetch1(c + PanelWidth / 2);
        }
    }

    private static void Scaled(float alpha, float* scales, int columns, float* to)
    {
        for (int j = 0; j < columns; j++) to[j] = alpha * scales[j];
    }

    private static void CopyEdge(float* from, float* to, int count, bool accumulate)
    {
        if (accumulate) for (int j = 0; j < count; j++) to[j] += from[j];
        else for (int j = 0; j < count; j++) to[j] = from[j];
    }
}
