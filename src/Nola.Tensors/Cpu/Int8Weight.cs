using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>
/// A weight in 8 bits: its codes in panels, and the largest magnitude of each column. A value is code · magnitude · 1/127, as
/// <see cref="QuantizedMatrix.Row"/> computes it; x·W is (x · codes) · (magnitude · 1/127), column by column.
/// </summary>
/// <param name="codes">Signed bytes. (panels, rows, width)</param>
/// <param name="scales">Magnitudes, then magnitudes · 1/127. (2, panels, width)</param>
/// <param name="rows">in.</param>
/// <param name="columns">out.</param>
internal sealed unsafe class Int8Weight<S, V>(Tensor codes, Tensor scales, int rows, int columns) : PackedWeight(rows, columns)
    where S : struct, ISimd<V>
    where V : struct
{
    private static int Width => 2 * S.Width;

    public override WeightFormat Format => WeightFormat.Int8;

    public override long Bytes => codes.Bytes + scales.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Make(int panel, int step, int steps, float* to)
    {
        sbyte* from = At(panel, step);
        V left = S.Load(Magnitudes(panel)), right = S.Load(Magnitudes(panel) + S.Width);
        for (int p = 0; p < steps; p++, from += Width, to += Width)
        {
            S.Store(Value(from, left), to);
            S.Store(Value(from + S.Width, right), to + S.Width);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void MakeUnscaled(int panel, int step, int steps, float* to)
    {
        sbyte* from = At(panel, step);
        for (int i = 0; i < steps * Width; i += S.Width) S.Store(S.FromBytes(from + i), to + i);
    }

    public override float* Scales(int panel) => Magnitudes(panel) + (long)Gemm.Panels(Columns) * Width;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void MakeTransposed(int panel, int step, int steps, float* to)
    {
        int first = panel * Width, count = Math.Min(Width, Rows - first);
        sbyte* square = stackalloc sbyte[Width * Width];
        if (count < Width) new Span<sbyte>(square, Width * Width).Clear();
        for (int o = step; o < step + steps; o = (o / Width + 1) * Width)
        {
            int some = Math.Min((o / Width + 1) * Width, step + steps) - o;
            Transpose.Bytes((byte*)At(o / Width, first) + o % Width, Width, (byte*)square, Width, count, some);
            float* scale = Magnitudes(o / Width) + o % Width;
            for (int c = 0; c < some; c++, to += Width)
            {
                V own = S.Broadcast(scale[c]);
                S.Store(Value(square + c * Width, own), to);
                S.Store(Value(square + c * Width + S.Width, own), to + S.Width);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Row(int panel, int panels, int step, int steps, float* x, nint stride, float* sums)
    {
        int i = 0;
        for (; i + 2 <= panels; i += 2) Pair(panel + i, step, steps, x, stride, sums + i * Width);
        if (i == panels) return;
        sbyte* from = At(panel + i, step);
        V a = S.Zero, b = S.Zero;
        for (int p = 0; p < steps; p++, from += Width)
        {
            V factor = S.Broadcast(x[p * stride]);
            a = S.MultiplyAdd(factor, S.FromBytes(from), a);
            b = S.MultiplyAdd(factor, S.FromBytes(from + S.Width), b);
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
        sbyte* first = At(panel, step), second = At(panel + 1, step);
        V a = S.Zero, b = S.Zero, c = S.Zero, d = S.Zero;
        for (int p = 0; p < steps; p++, first += Width, second += Width)
        {
            Fetch.Ahead(first);
            Fetch.Ahead(second);
            V factor = S.Broadcast(x[p * stride]);
            a = S.MultiplyAdd(factor, S.FromBytes(first), a);
            b = S.MultiplyAdd(factor, S.FromBytes(first + S.Width), b);
            c = S.MultiplyAdd(factor, S.FromBytes(second), c);
            d = S.MultiplyAdd(factor, S.FromBytes(second + S.Width), d);
        }
        S.Store(a, sums);
        S.Store(b, sums + S.Width);
        S.Store(c, sums + Width);
        S.Store(d, sums + Width + S.Width);
    }

    private static V Value(sbyte* code, V scale) =>
        S.Multiply(S.Multiply(S.FromBytes(code), scale), S.Broadcast(QuantizedMatrix.ByteStep));

    private sbyte* At(int panel, int step) => (sbyte*)CpuDevice.Ints(codes) + ((long)panel * Rows + step) * Width;

    private float* Magnitudes(int panel) => CpuDevice.Floats(scales) + (long)panel * Width;
}
