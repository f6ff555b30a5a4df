using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>A weight rounded to bfloat16.</summary>
/// <param name="panels">W. (panels, rows, width)</param>
/// <param name="rows">in.</param>
/// <param name="columns">out.</param>
internal sealed unsafe class HalfWeight<S, V>(Tensor panels, int rows, int columns) : PackedWeight(rows, columns)
    where S : struct, ISimd<V>
    where V : struct
{
    private static int Width => 2 * S.Width;

    public override WeightFormat Format => WeightFormat.BFloat16;

    public override long Bytes => panels.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Make(int panel, int step, int steps, float* to)
    {
        ushort* from = At(panel, step);
        for (int i = 0; i < steps * Width; i += S.Width) S.Store(S.FromHalves(from + i), to + i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void MakeTransposed(int panel, int step, int steps, float* to)
    {
        int first = panel * Width, count = Math.Min(Width, Rows - first);
        ushort* square = stackalloc ushort[Width * Width];
        if (count < Width) new Span<ushort>(square, Width * Width).Clear();
        for (int o = step; o < step + steps; o = (o / Width + 1) * Width)
        {
            int some = Math.Min((o / Width + 1) * Width, step + steps) - o;
            Transpose.Halves(At(o / Width, first) + o % Width, Width, square, Width, count, some);
            for (int i = 0; i < some * Width; i += S.Width, to += S.Width) S.Store(S.FromHalves(square + i), to);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Row(int panel, int panels, int step, int steps, float* x, nint stride, float* sums)
    {
        for (int i = 0; i < panels; i++, sums += Width)
        {
            ushort* from = At(panel + i, step);
            V left = S.Zero, right = S.Zero;
            for (int p = 0; p < steps; p++, from += Width)
            {
                Fetch.Ahead(from);
                V factor = S.Broadcast(x[p * stride]);
                left = S.MultiplyAdd(factor, S.FromHalves(from), left);
                right = S.MultiplyAdd(factor, S.FromHalves(from + S.Width), right);
            }
            S.Store(left, sums);
            S.Store(right, sums + S.Width);
        }
    }

    public override void Dispose() => panels.Dispose();

    private ushort* At(int panel, int step) => CpuDevice.Halves(panels) + ((long)panel * Rows + step) * Width;
}
