using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void RotaryCore(Matrix x, Tensor positions, Tensor angles, AttentionLayout layout, Matrix y, float direction)
    {
        int* position = Ints(positions);
        float* table = Floats(angles), from = Floats(x), to = Floats(y);
        int size = layout.HeadSize, limit = (angles.Shape.Rows - RotaryFrequencies.Step) * RotaryFrequencies.Step;
        int rotated = layout.ValueColumn, kept = x == y ? 0 : layout.KeyWidth;
        team.For(x.Rows, RowsOfPiece(x.Columns), (start, end) =>
        {
            float* turn = Scratch.Floats(size);
            for (int i = start; i < end; i++)
            {
                CheckIndex(position[i], limit);
                float* near = table + position[i] % RotaryFrequencies.Step * size;
                float* far = table + (RotaryFrequencies.Step + position[i] / RotaryFrequencies.Step) * (long)size;
                float* xi = from + (long)i * x.Stride, yi = to + (long)i * y.Stride;
                Dispatch.Run(new AngleSumLoop(near, far, turn, direction, size / 2), 0, size / 2);
                for (int column = 0; column < rotated; column += size)
                    Dispatch.Run(new RotaryLoop(xi + column, turn, yi + column, size / 2), 0, size / 2);
                new ReadOnlySpan<float>(xi + rotated, kept).CopyTo(new Span<float>(yi + rotated, kept));
            }
        });
    }

    /// <summary>
    /// Cosines and sines of sums: cos(a + b) = cos a · cos b − sin a · sin b, sin(a + b) = sin a · cos b + cos a · sin b.
    /// </summary>
    private readonly struct AngleSumLoop(float* near, float* far, float* sum, float direction, int half) : ISimdLoop
    {
        private readonly float* near = near, far = far, sum = sum;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            V minus = S.Broadcast(-1f), way = S.Broadcast(direction);
            int j = start;
            for (; j <= end - S.Width; j += S.Width)
            {
                V ca = S.Load(near + j), sa = S.Load(near + half + j), cb = S.Load(far + j), sb = S.Load(far + half + j);
                S.Store(S.MultiplyAdd(ca, cb, S.Multiply(S.Multiply(sa, sb), minus)), sum + j);
                S.Store(S.Multiply(S.MultiplyAdd(sa, cb, S.Multiply(ca, sb)), way), sum + half + j);
            }
            for (; j < end; j++)
            {
                float ca = near[j], sa = near[half + j], cb = far[j], sb = far[half + j];
                sum[j] = MathF.FusedMultiplyAdd(ca, cb, -(sa * sb));
                sum[half + j] = direction * MathF.FusedMultiplyAdd(sa, cb, ca * sb);
            }
        }
    }

    /// <summary>One head, turned by cosines and sines in <c>turn</c>.</summary>
    private readonly struct RotaryLoop(float* x, float* turn, float* y, int half) : ISimdLoop
    {
        private readonly float* x = x, turn = turn, y = y;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            V minus = S.Broadcast(-1f);
            int j = start;
            for (; j <= end - S.Width; j += S.Width)
            {
                V c = S.Load(turn + j), s = S.Load(turn + half + j), a = S.Load(x + j), b = S.Load(x + half + j);
                S.Store(S.MultiplyAdd(c, a, S.Multiply(S.Multiply(s, b), minus)), y + j);
                S.Store(S.MultiplyAdd(c, b, S.Multiply(s, a)), y + half + j);
            }
            for (; j < end; j++)
            {
                float a = x[j], b = x[half + j];
                y[j] = MathF.FusedMultiplyAdd(turn[j], a, -(turn[half + j] * b));
                y[half + j] = MathF.FusedMultiplyAdd(turn[j], b, turn[half + j] * a);
            }
        }
    }
}
