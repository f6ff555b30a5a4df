using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Nola.Tensors;

/// <summary>
/// A weight in NF4: its codes in panels, and what they are multiplied with. A byte of a panel's step holds the codes of two columns,
/// of one of the first half in its lower bits and of the one as far into the second half in its upper bits.
/// </summary>
/// <param name="codes">(panels, rows, width / 2) bytes.</param>
/// <param name="scales">Where the magnitudes of blocks come from.</param>
/// <param name="rows">in.</param>
/// <param name="columns">out.</param>
internal sealed unsafe class Nf4Weight<S, V>(Tensor codes, Nf4Scales scales, int rows, int columns) : PackedWeight(rows, columns)
    where S : struct, ISimd<V>
    where V : struct
{
    // The codes of 0 in both halves of a byte.
    private const byte Zeros = 0x77;

    private static readonly float* values = Table();

    private static int Width => 2 * S.Width;

    public override WeightFormat Format => scales.IsNested ? WeightFormat.Nf4Double : WeightFormat.Nf4;

    public override long Bytes => codes.Bytes + scales.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Make(int panel, int step, int steps, float* to)
    {
        byte* from = At(panel, step);
        float* table = values;
        float* own = stackalloc float[Width];
        for (int p = step, end; p < step + steps; p = end)
        {
            end = Math.Min(step + steps, scales.EndOfGroup(p));
            float* scale = scales.Of(panel, p, own);
            V left = S.Load(scale), right = S.Load(scale + S.Width);
            for (int q = p; q < end; q++, from += S.Width, to += Width)
            {
                S.LookUp(from, table, out V lower, out V upper);
                S.Store(S.Multiply(lower, left), to);
                S.Store(S.Multiply(upper, right), to + S.Width);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void MakeTransposed(int panel, int step, int steps, float* to)
    {
        int first = panel * Width, count = Math.Min(Width, Rows - first);
        float* table = values;
        byte* tile = stackalloc byte[Width * S.Width];
        float* own = stackalloc float[Width], each = stackalloc float[Width * Width];
        if (count < Width) new Span<byte>(tile, Width * S.Width).Fill(Zeros);
        // One magnitude for all rows of a panel, where a block is long enough.
        bool single = scales.EndOfGroup(first) >= first + count;
        for (int o = step / Width; o * Width < step + steps; o++)
        {
            // A byte of the tile's row c is of columns c and c + half, at one row of W.
            Transpose.Bytes(At(o, first), S.Width, tile, Width, count, S.Width);
            float* scale = single ? scales.Of(o, first, own) : scales.Each(o, first, count, each);
            for (int c = 0, at = o * Width - step; c < S.Width; c++, at++)
            {
                S.LookUp(tile + c * Width, table, out V lowerLeft, out V upperLeft);
                S.LookUp(tile + c * Width + S.Width, table, out V lowerRight, out V upperRight);
                if ((uint)at < (uint)steps) Put(lowerLeft, lowerRight, scale, c, single, to + at * Width);
                if ((uint)(at + S.Width) < (uint)steps) Put(upperLeft, upperRight, scale, c + S.Width, single, to + (at + S.Width) * Width);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Row(int panel, int panels, int step, int steps, float* x, nint stride, float* sums)
    {
        int i = 0;
        for (; i + 2 <= panels; i += 2) Pair(panel + i, step, steps, x, stride, sums + i * Width);
        if (i == panels) return;
        byte* from = At(panel + i, step);
        float* table = values;
        float* own = stackalloc float[Width];
        V a = S.Zero, b = S.Zero;
        for (int p = step, end; p < step + steps; p = end)
        {
            end = Math.Min(step + steps, scales.EndOfGroup(p));
            float* scale = scales.Of(panel + i, p, own);
            V left = S.Load(scale), right = S.Load(scale + S.Width);
            for (int q = p; q < end; q++, from += S.Width)
            {
                V factor = S.Broadcast(x[(q - step) * stride]);
                S.LookUp(from, table, out V lower, out V upper);
                a = S.MultiplyAdd(factor, S.Multiply(lower, left), a);
                b = S.MultiplyAdd(factor, S.Multiply(upper, right), b);
            }
        }
        S.Store(a, sums + i * Width);
        S.Store(b, sums + i * Width + S.Width);
    }

    public override void Dispose()
    {
        codes.Dispose();
        scales.Dispose();
    }

    // Two panels at a time: the sums of one would wait for each other.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Pair(int panel, int step, int steps, float* x, nint stride, float* sums)
    {
        byte* first = At(panel, step), second = At(panel + 1, step);
        float* table = values;
        float* own = stackalloc float[Width], next = stackalloc float[Width];
        V a = S.Zero, b = S.Zero, c = S.Zero, d = S.Zero;
        for (int p = step, end; p < step + steps; p = end)
        {
            end = Math.Min(step + steps, scales.EndOfGroup(p));
            float* scale = scales.Of(panel, p, own), nextScale = scales.Of(panel + 1, p, next);
            V left = S.Load(scale), right = S.Load(scale + S.Width);
            V nextLeft = S.Load(nextScale), nextRight = S.Load(nextScale + S.Width);
            for (int q = p; q < end; q++, first += S.Width, second += S.Width)
            {
                V factor = S.Broadcast(x[(q - step) * stride]);
                S.LookUp(first, table, out V lower, out V upper);
                a = S.MultiplyAdd(factor, S.Multiply(lower, left), a);
                b = S.MultiplyAdd(factor, S.Multiply(upper, right), b);
                S.LookUp(second, table, out V nextLower, out V nextUpper);
                c = S.MultiplyAdd(factor, S.Multiply(nextLower, nextLeft), c);
                d = S.MultiplyAdd(factor, S.Multiply(nextUpper, nextRight), d);
            }
        }
        S.Store(a, sums);
        S.Store(b, sums + S.Width);
        S.Store(c, sums + Width);
        S.Store(d, sums + Width + S.Width);
    }

    // A column's values, with one magnitude for all or with one for each.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(V left, V right, float* scale, int column, bool single, float* to)
    {
        V a = single ? S.Broadcast(scale[column]) : S.Load(scale + column * Width);
        V b = single ? a : S.Load(scale + column * Width + S.Width);
        S.Store(S.Multiply(left, a), to);
        S.Store(S.Multiply(right, b), to + S.Width);
    }

    private byte* At(int panel, int step) => (byte*)CpuDevice.Ints(codes) + ((long)panel * Rows + step) * S.Width;

    // Aligned, and there as long as the process is.
    private static float* Table()
    {
        float* table = (float*)NativeMemory.AlignedAlloc(16 * sizeof(float), 64);
        CodeBook.Nf4.Values.CopyTo(new Span<float>(table, 16));
        return table;
    }
}
