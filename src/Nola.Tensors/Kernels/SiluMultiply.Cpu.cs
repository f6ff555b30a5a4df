using System.Runtime.CompilerServices;

namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void SiluMultiplyCore(Matrix a, Matrix b, Matrix y)
    {
        float* pa = Floats(a), pb = Floats(b), py = Floats(y);
        team.For(a.Rows, RowsOfPiece(a.Columns), (start, end) =>
        {
            for (int i = start; i < end; i++)
            {
                float* rowA = pa + (long)i * a.Stride, rowB = pb + (long)i * b.Stride;
                Dispatch.Run(new ElementwiseLoop<SiluMultiplyFormula>(rowA, rowB, py + (long)i * y.Stride, 1, 0), 0, a.Columns);
            }
        });
    }

    private protected override void SiluMultiplyGradCore(Matrix a, Matrix b, Matrix dy, Matrix da, Matrix db, float beta)
    {
        float* pa = Floats(a), pb = Floats(b), pdy = Floats(dy), pda = Floats(da), pdb = Floats(db);
        team.For(a.Rows, RowsOfPiece(a.Columns), (start, end) =>
        {
            for (int i = start; i < end; i++)
            {
                float* rowA = pa + (long)i * a.Stride, rowB = pb + (long)i * b.Stride, rowDy = pdy + (long)i * dy.Stride;
                SiluMultiplyGradLoop row = new(rowA, rowB, rowDy, pda + (long)i * da.Stride, pdb + (long)i * db.Stride, beta);
                Dispatch.Run(row, 0, a.Columns);
            }
        });
    }

    /// <summary>silu(a) · b.</summary>
    private readonly struct SiluMultiplyFormula : IFormula
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Apply<S, V>(V a, V b) where S : struct, ISimd<V> where V : struct =>
            S.Multiply(S.Multiply(a, Sigmoid<S, V>(a)), b);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static V Sigmoid<S, V>(V a) where S : struct, ISimd<V> where V : struct
        {
            V one = S.Broadcast(1f);
            return S.Divide(one, S.Add(one, SimdMath.Exp<S, V>(S.Subtract(S.Zero, a))));
        }
    }

    /// <summary>Both gradients in one pass.</summary>
    private readonly struct SiluMultiplyGradLoop(float* a, float* b, float* dy, float* da, float* db, float beta) : ISimdLoop
    {
        private readonly float* a = a, b = b, dy = dy, da = da, db = db;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            int i = start;
            for (; i <= end - S.Width; i += S.Width) Step<S, V>(a + i, b + i, dy + i, da + i, db + i);
            if (i == end) return;
            // The rest through padded vectors, so that the tail has the bits of the body.
            float* tail = stackalloc float[5 * 16];
            for (int j = i; j < end; j++)
            {
                float* at = tail + (j - i);
                (at[0], at[16], at[32]) = (a[j], b[j], dy[j]);
                if (beta != 0) (at[48], at[64]) = (da[j], db[j]);
            }
            Step<S, V>(tail, tail + 16, tail + 32, tail + 48, tail + 64);
            for (int j = i; j < end; j++) (da[j], db[j]) = (tail[48 + j - i], tail[64 + j - i]);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private void Step<S, V>(float* a, float* b, float* dy, float* da, float* db) where S : struct, ISimd<V> where V : struct
        {
            V x = S.Load(a), gradient = S.Load(dy), sigmoid = SiluMultiplyFormula.Sigmoid<S, V>(x), silu = S.Multiply(x, sigmoid);
            V slope = S.MultiplyAdd(silu, S.Subtract(S.Broadcast(1f), sigmoid), sigmoid);
            V first = S.Multiply(S.Multiply(gradient, S.Load(b)), slope), second = S.Multiply(gradient, silu);
            S.Store(beta == 0 ? first : S.Add(first, S.Load(da)), da);
            S.Store(beta == 0 ? second : S.Add(second, S.Load(db)), db);
        }
    }
}
