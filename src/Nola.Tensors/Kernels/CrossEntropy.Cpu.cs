using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    // Logits that exist at once: rows enough to use each panel of the head often, in about 32 MB and whole tiles.
    private static int LogitRows(int vocabulary) => Gemm.TileRows * Math.Clamp((1 << 23) / vocabulary / Gemm.TileRows, 2, 36);

    private protected override void HeadCrossEntropyCore(
        Tensor x, FrozenMatrix head, Tensor targets, float labelSmoothing,
        Tensor losses, Tensor? dx, Tensor? dhead, float scale, float betaHead, ILogitDeltas? deltas)
    {
        PackedMatrix w = (PackedMatrix)head;
        int rows = x.Shape.Rows, c = head.Rows, v = head.Columns, block = Math.Min(LogitRows(v), Math.Max(1, rows));
        using Tensor buffer = Empty([block, v]);
        float* px = Floats(x), z = Floats(buffer), loss = Floats(losses);
        int* target = Ints(targets);
        for (int p = 0; p < rows; p += block)
        {
            int count = Math.Min(block, rows - p);
            float* xp = px + (long)p * c;
            Gemm.Multiply(team, count, v, c, new(xp, c, 1), w.Forward, z, v);
            deltas?.AddTo(new Matrix(buffer, count, v, 0, v), p);
            LossRows loop = new(z, dx is null ? null : z, v, target + p, loss + p, null, dx is null ? 0 : scale, labelSmoothing, 0);
            team.For(count, 4, (start, end) => Dispatch.Run(loop, start, end));
            if (dx is null) continue;
            Gemm.Multiply(team, count, c, v, new(z, v, 1), w.Backward, Floats(dx) + (long)p * c, c);
            if (dhead is not null) AddHeadGrad(z, xp, count, c, v, Floats(dhead), p > 0 || betaHead != 0);
            deltas?.Backward(new Matrix(buffer, count, v, 0, v), p);
        }
        if (rows == 0 && dhead is not null && betaHead == 0) Fill(dhead, 0);
    }

    // dhead (V, C) (+)= gᵀ (V, rows) · x (rows, C)
    private void AddHeadGrad(float* g, float* x, int rows, int c, int v, float* dhead, bool accumulate)
    {
        bool rounds = RoundsProducts;
        using Tensor packed = rounds
            ? Empty([Gemm.Panels(c), Gemm.PairsOf(rows), Gemm.PanelWidth], DType.Int32)
            : Empty([Gemm.Panels(c), rows, Gemm.PanelWidth]);
        if (rounds) Gemm.PackPairs(team, x, c, 1, rows, c, (uint*)Ints(packed));
        else Gemm.Pack(x, c, 1, rows, c, Floats(packed));
        Gemm.Multiply(team, v, c, rows, new(g, 1, v), PanelsOf(packed), dhead, c, 1, null, accumulate);
    }

    private protected override void CrossEntropyCore(
        Tensor logits, Tensor targets, float labelSmoothing, Tensor losses, Tensor? dlogits, Tensor? scales, float beta)
    {
        LossRows loop = new(
            Floats(logits), dlogits is null ? null : Floats(dlogits), logits.Shape.Columns, Ints(targets), Floats(losses),
            scales is null ? null : Floats(scales), 1, labelSmoothing, beta);
        team.For(logits.Shape.Rows, 4, (start, end) => Dispatch.Run(loop, start, end));
    }

    /// <summary>Loss of each row of logits z (V), and its gradient g, which may be written over z.</summary>
    private readonly struct LossRows(
        float* z, float* g, int v, int* targets, float* losses, float* scales, float scale, float smoothing, float beta) : ISimdLoop
    {
        private readonly float* z = z, g = g, losses = losses, scales = scales;
        private readonly int* targets = targets;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int body = v - v % S.Width;
            for (int r = start; r < end; r++)
            {
                float* zr = z + (long)r * v;
                CheckIndex(targets[r], v);
                V largest = S.Broadcast(float.NegativeInfinity), sum = S.Zero;
                for (int j = 0; j < body; j += S.Width)
                {
                    V value = S.Load(zr + j);
                    largest = S.Max(largest, value);
                    sum = S.Add(sum, value);
                }
                float max = S.MaxElement(largest), sumZ = S.Sum(sum);
                for (int j = body; j < v; j++) (max, sumZ) = (MathF.Max(max, zr[j]), sumZ + zr[j]);

                V shift = S.Broadcast(max), total = S.Zero;
                for (int j = 0; j < body; j += S.Width)
                    total = S.Add(total, SimdMath.Exp<S, V>(S.Subtract(S.Load(zr + j), shift)));
                float sumExp = S.Sum(total);
                for (int j = body; j < v; j++) sumExp += MathF.Exp(zr[j] - max);
                float lse = max + MathF.Log(sumExp);
                losses[r] = (1 - smoothing) * (lse - zr[targets[r]]) + smoothing * (lse - sumZ / v);
                if (g != null) Gradient<S, V>(zr, g + (long)r * v, body, lse, targets[r], scales == null ? scale : scales[r]);
            }
        }

        private void Gradient<S, V>(float* zr, float* gr, int body, float lse, int target, float factor)
            where S : struct, ISimd<V>
            where V : struct
        {
            V shift = S.Broadcast(lse), f = S.Broadcast(factor), smooth = S.Broadcast(-factor * smoothing / v);
            float onTarget = beta == 0 ? 0 : gr[target];
            float atTarget = factor * (MathF.Exp(zr[target] - lse) - smoothing / v - (1 - smoothing)) + onTarget;
            for (int j = 0; j < body; j += S.Width)
            {
                V d = S.MultiplyAdd(SimdMath.Exp<S, V>(S.Subtract(S.Load(zr + j), shift)), f, smooth);
                S.Store(beta == 0 ? d : S.Add(d, S.Load(gr + j)), gr + j);
            }
            for (int j = body; j < v; j++)
                gr[j] = factor * (MathF.Exp(zr[j] - lse) - smoothing / v) + (beta == 0 ? 0 : gr[j]);
            gr[target] = atTarget;
        }
    }
}
