using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Nola.Tensors;

/// <summary>
/// Generates parts of a random basis straight into packed panels (see <see cref="Gemm"/>), sixteen counters at a time and
/// at the widest vectors that the machine has. The bits do not depend on the width.
/// </summary>
internal static unsafe class BasisPanels
{
    /// <summary>
    /// Entries e0 … e0 + eCount − 1 of matrices i0 … i0 + iCount − 1 as the right operand of a product over matrices:
    /// entry e0 + c of matrix i0 + p at panel c / width, row p, column c mod width. e0 is a multiple of the group size, and
    /// panels has room for whole groups; what is written beyond eCount meets no column of the result. Width is 8, 16 or 32.
    /// </summary>
    public static void Entries(in RandomBasis basis, int i0, int iCount, int e0, int eCount, float* panels, int width)
    {
        if (Vector512.IsHardwareAccelerated && width >= Words512.Lanes)
            Entries<Words512, Vector512<uint>>(basis, i0, iCount, e0, eCount, panels, width);
        else if (Vector256.IsHardwareAccelerated)
            Entries<Words256, Vector256<uint>>(basis, i0, iCount, e0, eCount, panels, width);
        else
            Entries<Words128, Vector128<uint>>(basis, i0, iCount, e0, eCount, panels, width);
    }

    /// <summary>
    /// The transpose, for a product over entries: entry e0 + p of matrix i0 + c at panel c / width, row p, column
    /// c mod width. Lanes run over matrices, in whole sixteens. e0 is a multiple of the group size, eCount at most to the
    /// end of the matrix. A panel has panelRows ≥ eCount rows, of which those from eCount on stay as they are.
    /// </summary>
    public static void Bases(in RandomBasis basis, int i0, int iCount, int e0, int eCount, float* panels, int width, int panelRows)
    {
        if (Vector512.IsHardwareAccelerated && width >= Words512.Lanes)
            Bases<Words512, Vector512<uint>>(basis, i0, iCount, e0, eCount, panels, width, panelRows);
        else if (Vector256.IsHardwareAccelerated)
            Bases<Words256, Vector256<uint>>(basis, i0, iCount, e0, eCount, panels, width, panelRows);
        else
            Bases<Words128, Vector128<uint>>(basis, i0, iCount, e0, eCount, panels, width, panelRows);
    }

    /// <summary>All entries of one matrix, row-major.</summary>
    public static void Fill(in RandomBasis basis, uint index, float* entries)
    {
        // A panel of one row is the row itself, whatever its width. The last group, cut short, goes through a buffer.
        int whole = basis.Size / basis.GroupSize * basis.GroupSize, rest = basis.Size - whole;
        Entries(basis, (int)index, 1, 0, whole, entries, 16);
        float* last = stackalloc float[basis.GroupSize];
        Entries(basis, (int)index, 1, whole, rest, last, 16);
        new ReadOnlySpan<float>(last, rest).CopyTo(new Span<float>(entries + whole, rest));
    }

    internal static void Entries<S, V>(in RandomBasis basis, int i0, int iCount, int e0, int eCount, float* panels, int width)
        where S : struct, IWords<V>
        where V : struct
    {
        int group = basis.GroupSize;
        uint* keys = stackalloc uint[Philox.Keys];
        Philox.Schedule(basis.Seed, keys);
        long panel = (long)iCount * width;
        PanelRuns layout = width == 32 ? new(1, panel, 8) : new(0, 16 / width * panel, width == 8 ? panel : 8);
        for (int c = 0; c < eCount; c += group)
        {
            float* to = panels + c / width * panel;
            uint counter = (uint)(16 * ((e0 + c) / group));
            if (basis.Entries == BasisEntries.Uniform && eCount - c >= group)
            {
                UniformPanels.Entries<S, V>(basis, keys, counter, (uint)i0, iCount, to, width, layout);
                continue;
            }
            // Pairs of runs fill whole panels of every width.
            int runs = (Math.Min(group, eCount - c) + 31) / 32 * 2;
            for (int p = 0; p < iCount; p++, to += width)
                Sixteen<S, V>(basis, keys, counter, 1, (uint)(i0 + p), 0, to, layout, runs);
        }
    }

    internal static void Bases<S, V>(in RandomBasis basis, int i0, int iCount, int e0, int eCount, float* panels, int width, int panelRows)
        where S : struct, IWords<V>
        where V : struct
    {
        int group = basis.GroupSize;
        uint* keys = stackalloc uint[Philox.Keys];
        Philox.Schedule(basis.Seed, keys);
        long panel = (long)panelRows * width;
        PanelRuns layout = new(0, 16 * width, width == 8 ? panel : 8);
        for (int c = 0; c < iCount; c += 16)
        {
            for (int e = 0; e < eCount; e += group)
            {
                int count = Math.Min(group, eCount - e);
                if (basis.Entries == BasisEntries.Uniform && count == group)
                {
                    float* start = panels + c / width * panel + (long)e * width + c % width;
                    UniformPanels.Bases<S, V>(basis, keys, (uint)(16 * ((e0 + e) / group)), (uint)(i0 + c), start, width, layout);
                    continue;
                }
                for (int lane = 0; lane < Math.Min(16, count); lane++)
                {
                    // The counter of this lane gives its own row and every sixteenth after it.
                    float* to = panels + c / width * panel + (long)(e + lane) * width + c % width;
                    uint counter = (uint)(16 * ((e0 + e) / group) + lane);
                    Sixteen<S, V>(basis, keys, counter, 0, (uint)(i0 + c), 1, to, layout, (count - lane + 15) / 16);
                }
            }
        }
    }

    /// <summary>
    /// The first runs of sixteen lanes that sixteen counters give, run h lane t placed by the layout. With steps (1, 0) the
    /// lanes are neighboring counters of one matrix and the runs together a group in order; with (0, 1) sixteen matrices.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Sixteen<S, V>(
        in RandomBasis basis, uint* keys, uint counter, uint counterStep, uint index, uint indexStep, float* to, in PanelRuns layout,
        int runs)
        where S : struct, IWords<V>
        where V : struct
    {
        for (int t = 0; t < 16; t += S.Lanes)
        {
            V x0 = Lanes<S, V>(counter, counterStep, (uint)t), x1 = Lanes<S, V>(index, indexStep, (uint)t);
            V x2 = S.Broadcast(basis.Stream), x3 = S.Broadcast(basis.Layer);
            Philox.Blocks<S, V>(ref x0, ref x1, ref x2, ref x3, keys);
            float* lane = to + (t >> 3) * layout.HalfStep + (t & 7);
            if (basis.Entries == BasisEntries.Sign)
            {
                Signs<S, V>(x0, lane, layout, 0, runs);
                Signs<S, V>(x1, lane, layout, 32, runs);
                Signs<S, V>(x2, lane, layout, 64, runs);
                Signs<S, V>(x3, lane, layout, 96, runs);
            }
            else if (basis.Entries == BasisEntries.Normal)
            {
                Normals<S, V>(x0, lane, layout, 0, runs);
                Normals<S, V>(x1, lane, layout, 2, runs);
                Normals<S, V>(x2, lane, layout, 4, runs);
                Normals<S, V>(x3, lane, layout, 6, runs);
            }
            else
            {
                Uniforms<S, V>(x0, lane, layout, 0, runs);
                Uniforms<S, V>(x1, lane, layout, 2, runs);
                Uniforms<S, V>(x2, lane, layout, 4, runs);
                Uniforms<S, V>(x3, lane, layout, 6, runs);
            }
        }
    }

    // Counter words of lanes first, first + 1, …: all start, or (step 1) start plus the number of the lane.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Lanes<S, V>(uint start, uint step, uint first)
        where S : struct, IWords<V>
        where V : struct =>
        step == 0 ? S.Broadcast(start) : S.Add(S.Broadcast(start + first), S.Indices);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Uniforms<S, V>(V words, float* lane, in PanelRuns layout, int run, int runs)
        where S : struct, IWords<V>
        where V : struct
    {
        if (run < runs) S.StoreLowUniform(words, lane + layout.At(run));
        if (run + 1 < runs) S.StoreHighUniform(words, lane + layout.At(run + 1));
    }

    private static void Normals<S, V>(V words, float* lane, in PanelRuns layout, int run, int runs)
        where S : struct, IWords<V>
        where V : struct
    {
        ReadOnlySpan<float> table = NormalTable.Values;
        uint* x = stackalloc uint[16];
        S.Store(words, x);
        float* low = lane + layout.At(run), high = lane + layout.At(run + 1);
        for (int t = 0; t < S.Lanes && run < runs; t++) low[t] = table[(int)(x[t] & 0xFFFF)];
        for (int t = 0; t < S.Lanes && run + 1 < runs; t++) high[t] = table[(int)(x[t] >> 16)];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Signs<S, V>(V words, float* lane, in PanelRuns layout, int run, int runs)
        where S : struct, IWords<V>
        where V : struct
    {
        for (int end = Math.Min(run + 32, runs); run < end; run++, words = S.DoubleEach(words))
            S.StoreSign(words, lane + layout.At(run));
    }
}

/// <summary>
/// Where runs of sixteen go: run h at (h / 2) · step + (h mod 2) · 16 where a panel holds two of them (pair = 1), else at
/// h · step; the second eight lanes of a run halfStep behind the first (8 unless panels are that narrow).
/// </summary>
internal readonly struct PanelRuns(int pair, long step, long halfStep)
{
    public long HalfStep => halfStep;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public long At(int run) => (run >> pair) * step + (run & pair) * 16;
}
