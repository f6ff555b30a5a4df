using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Nola.Tensors;

/// <summary>
/// A weight in NF4: its codes in panels, and what they are multiplied with. A word of a panel holds the codes of four steps, a byte for
/// each: of a column of the panel's first half in the lower bits, and of the one as far into the second half in the upper bits.
/// </summary>
/// <param name="codes">(panels, rows / 4, width / 2) words.</param>
/// <param name="scales">Where the magnitudes of blocks come from.</param>
/// <param name="rows">in.</param>
/// <param name="columns">out.</param>
internal sealed unsafe class Nf4Weight<S, V>(Tensor codes, Nf4Scales scales, int rows, int columns) : PackedWeight(rows, columns)
    where S : struct, ISimd<V>
    where V : struct
{
    // The codes of 0 in both halves of a byte.
    private const byte Zeros = 0x77;

    // Steps of a word.
    private const int Steps = 4;

    private static readonly float* table = Table();

    public override WeightFormat Format => scales.IsNested ? WeightFormat.Nf4Double : WeightFormat.Nf4;

    public override long Bytes => codes.Bytes + scales.Bytes;

    private static int Width => 2 * S.Width;

    public override void Make(int panel, int step, int steps, float* to)
    {
        float* own = stackalloc float[Width];
        uint* from = At(panel, 0);
        for (int p = step, end; p < step + steps; p = end)
        {
            end = Math.Min(step + steps, scales.EndOfGroup(p));
            Expand(from + p / Steps * S.Width, p % Steps, table, scales.Of(panel, p, own), end - p, to + (p - step) * Width);
        }
    }

    public override void MakeTransposed(int panel, int step, int steps, float* to)
    {
        int first = panel * Width, count = Math.Min(Width, Rows - first);
        byte* tile = stackalloc byte[Width * S.Width];
        float* own = stackalloc float[Width], each = stackalloc float[Width * Width], values = stackalloc float[Width * Width];
        if (count < Width) new Span<byte>(tile, Width * S.Width).Fill(Zeros);
        // One magnitude for all rows of a panel, where a block is long enough.
        bool single = scales.EndOfGroup(first) >= first + count;
        for (int o = step / Width; o * Width < step + steps; o++)
        {
            // A byte of the tile's row c is of columns c and c + half, at one row of W.
            Transpose.Words(At(o, first), S.Width, (uint*)tile, Width / Steps, (count + Steps - 1) / Steps, S.Width);
            int at = o * Width - step;
            bool whole = at >= 0 && at + Width <= steps;
            float* square = whole ? to + at * Width : values;
            if (single) ExpandColumns(tile, table, scales.Of(o, first, own), square);
            else ExpandEach(tile, table, scales.Each(o, first, count, each), square);
            if (whole) continue;
            int begin = Math.Max(0, -at), some = (Math.Min(Width, steps - at) - begin) * Width;
            new ReadOnlySpan<float>(values + begin * Width, some).CopyTo(new Span<float>(to + (at + begin) * Width, some));
        }
    }

    public override void Row(int panel, int panels, int step, int steps, float* x, nint stride, float* sums)
    {
        new Span<float>(sums, panels * Width).Clear();
        float* own = stackalloc float[Width], next = stackalloc float[Width];
        uint* first = At(panel, 0);
        nint length = (nint)((Rows + Steps - 1) / Steps) * S.Width;
        for (int p = step, end; p < step + steps; p = end)
        {
            end = Math.Min(step + steps, scales.EndOfGroup(p));
            float* from = x + (p - step) * stride;
            uint* some = first + p / Steps * S.Width;
            int i = 0, phase = p % Steps;
            for (; i + 2 <= panels; i += 2, some += 2 * length)
            {
                float* scale = scales.Of(panel + i, p, own), nextScale = scales.Of(panel + i + 1, p, next);
                AddTwo(some, some + length, phase, table, scale, nextScale, end - p, from, stride, sums + i * Width);
            }
            if (i < panels) AddOne(some, phase, table, scales.Of(panel + i, p, own), end - p, from, stride, sums + i * Width);
        }
    }

    public override void Dispose()
    {
        codes.Dispose();
        scales.Dispose();
    }

    // The kernels call nothing, so that what they work with stays in registers.

    // Steps of one panel under the same magnitudes, beginning at one of a word's four.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Expand(uint* from, int phase, float* table, float* scale, int steps, float* to)
    {
        V left = S.Load(scale), right = S.Load(scale + S.Width);
        while (steps > 0)
        {
            if (phase > 0 || steps < Steps)
            {
                S.Store(S.Multiply(S.LookUp(from, 8 * phase, table), left), to);
                S.Store(S.Multiply(S.LookUp(from, 8 * phase + 4, table), right), to + S.Width);
                phase++;
                steps--;
                to += Width;
                if (phase < Steps) continue;
                phase = 0;
            }
            else
            {
                S.Store(S.Multiply(S.LookUp(from, 0, table), left), to);
                S.Store(S.Multiply(S.LookUp(from, 4, table), right), to + S.Width);
                S.Store(S.Multiply(S.LookUp(from, 8, table), left), to + Width);
                S.Store(S.Multiply(S.LookUp(from, 12, table), right), to + Width + S.Width);
                S.Store(S.Multiply(S.LookUp(from, 16, table), left), to + 2 * Width);
                S.Store(S.Multiply(S.LookUp(from, 20, table), right), to + 2 * Width + S.Width);
                S.Store(S.Multiply(S.LookUp(from, 24, table), left), to + 3 * Width);
                S.Store(S.Multiply(S.LookUp(from, 28, table), right), to + 3 * Width + S.Width);
                steps -= Steps;
                to += Steps * Width;
            }
            from += S.Width;
        }
    }

    // A turned square, each of whose rows has one magnitude.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ExpandColumns(byte* tile, float* table, float* scale, float* to)
    {
        for (int c = 0; c < S.Width; c++, tile += Width, to += Width)
        {
            V low = S.Broadcast(scale[c]), high = S.Broadcast(scale[c + S.Width]);
            S.LookUp(tile, table, out V lowerLeft, out V upperLeft);
            S.LookUp(tile + S.Width, table, out V lowerRight, out V upperRight);
            S.Store(S.Multiply(lowerLeft, low), to);
            S.Store(S.Multiply(lowerRight, low), to + S.Width);
            S.Store(S.Multiply(upperLeft, high), to + S.Width * Width);
            S.Store(S.Multiply(upperRight, high), to + S.Width * Width + S.Width);
        }
    }

    // A turned square with a magnitude for each value.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ExpandEach(byte* tile, float* table, float* each, float* to)
    {
        int half = S.Width * Width;
        for (int c = 0; c < S.Width; c++, tile += Width, each += Width, to += Width)
        {
            S.LookUp(tile, table, out V lowerLeft, out V upperLeft);
            S.LookUp(tile + S.Width, table, out V lowerRight, out V upperRight);
            S.Store(S.Multiply(lowerLeft, S.Load(each)), to);
            S.Store(S.Multiply(lowerRight, S.Load(each + S.Width)), to + S.Width);
            S.Store(S.Multiply(upperLeft, S.Load(each + half)), to + half);
            S.Store(S.Multiply(upperRight, S.Load(each + half + S.Width)), to + half + S.Width);
        }
    }

    // sums += Σ x[p] · w[p] over steps of one panel.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddOne(uint* from, int phase, float* table, float* scale, int steps, float* x, nint stride, float* sums)
    {
        V left = S.Load(scale), right = S.Load(scale + S.Width), a = S.Load(sums), b = S.Load(sums + S.Width);
        for (; steps > 0; steps--, x += stride)
        {
            V factor = S.Broadcast(*x);
            a = S.MultiplyAdd(factor, S.Multiply(S.LookUp(from, 8 * phase, table), left), a);
            b = S.MultiplyAdd(factor, S.Multiply(S.LookUp(from, 8 * phase + 4, table), right), b);
            if (++phase < Steps) continue;
            phase = 0;
            from += S.Width;
        }
        S.Store(a, sums);
        S.Store(b, sums + S.Width);
    }

    // Two panels at a time: the sums of one would wait for each other.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddTwo(
        uint* first, uint* second, int phase, float* table, float* scale, float* nextScale, int steps, float* x, nint stride, float* sums)
    {
        if (phase > 0 || steps % Steps > 0)
        {
            AddOne(first, phase, table, scale, steps, x, stride, sums);
            AddOne(second, phase, table, nextScale, steps, x, stride, sums + Width);
            return;
        }
        V left = S.Load(scale), right = S.Load(scale + S.Width), nextLeft = S.Load(nextScale), nextRight = S.Load(nextScale + S.Width);
        V a = S.Load(sums), b = S.Load(sums + S.Width), c = S.Load(sums + Width), d = S.Load(sums + Width + S.Width);
        for (; steps > 0; steps -= Steps, first += S.Width, second += S.Width)
        {
            Fetch.Ahead(first);
            Fetch.Ahead(second);
            V factor = S.Broadcast(*x);
            a = S.MultiplyAdd(factor, S.Multiply(S.LookUp(first, 0, table), left), a);
            b = S.MultiplyAdd(factor, S.Multiply(S.LookUp(first, 4, table), right), b);
            c = S.MultiplyAdd(factor, S.Multiply(S.LookUp(second, 0, table), nextLeft), c);
            d = S.MultiplyAdd(factor, S.Multiply(S.LookUp(second, 4, table), nextRight), d);
            factor = S.Broadcast(*(x += stride));
            a = S.MultiplyAdd(factor, S.Multiply(S.LookUp(first, 8, table), left), a);
            b = S.MultiplyAdd(factor, S.Multiply(S.LookUp(first, 12, table), right), b);
            c = S.MultiplyAdd(factor, S.Multiply(S.LookUp(second, 8, table), nextLeft), c);
            d = S.MultiplyAdd(factor, S.Multiply(S.LookUp(second, 12, table), nextRight), d);
            factor = S.Broadcast(*(x += stride));
            a = S.MultiplyAdd(factor, S.Multiply(S.LookUp(first, 16, table), left), a);
            b = S.MultiplyAdd(factor, S.Multiply(S.LookUp(first, 20, table), right), b);
            c = S.MultiplyAdd(factor, S.Multiply(S.LookUp(second, 16, table), nextLeft), c);
            d = S.MultiplyAdd(factor, S.Multiply(S.LookUp(second, 20, table), nextRight), d);
            factor = S.Broadcast(*(x += stride));
            a = S.MultiplyAdd(factor, S.Multiply(S.LookUp(first, 24, table), left), a);
            b = S.MultiplyAdd(factor, S.Multiply(S.LookUp(first, 28, table), right), b);
            c = S.MultiplyAdd(factor, S.Multiply(S.LookUp(second, 24, table), nextLeft), c);
            d = S.MultiplyAdd(factor, S.Multiply(S.LookUp(second, 28, table), nextRight), d);
            x += stride;
        }
        S.Store(a, sums);
        S.Store(b, sums + S.Width);
        S.Store(c, sums + Width);
        S.Store(d, sums + Width + S.Width);
    }

    // The word of a step.
    private uint* At(int panel, int step) =>
        (uint*)CpuDevice.Ints(codes) + ((long)panel * ((Rows + Steps - 1) / Steps) + step / Steps) * S.Width;

    // Aligned, and there as long as the process is.
    private static float* Table()
    {
        float* values = (float*)NativeMemory.AlignedAlloc(16 * sizeof(float), 64);
        CodeBook.Nf4.Values.CopyTo(new Span<float>(values, 16));
        return values;
    }
}
