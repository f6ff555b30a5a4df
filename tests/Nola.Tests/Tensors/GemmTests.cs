using System.Runtime.Intrinsics;
using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Products at every width, and their invariants.</summary>
public sealed unsafe class GemmTests
{
    [Property(MaxTest = 40)]
    public void Every_vector_width_multiplies_right(int seed)
    {
        Random r = new(seed);
        int m = 1 + r.Next(40), n = 1 + r.Next(70), k = 1 + r.Next(50);
        Check<Simd128, Vector128<float>>(r, m, n, k);
        Check<Simd256, Vector256<float>>(r, m, n, k);
        Check<Simd512, Vector512<float>>(r, m, n, k);
    }

    [Property(MaxTest = 20)]
    public void One_thread_equals_three_bit_for_bit(int seed)
    {
        Random r = new(seed);
        int m = 1 + r.Next(600), n = 1 + r.Next(200), k = 1 + r.Next(2000);
        float[] a = OpCheck.Values(r, m * k, 1), b = OpCheck.Values(r, k * n, 1);
        Assert.Equal(Product(1), Product(3));

        float[] Product(int threads)
        {
            using CpuDevice device = new(threads);
            using Tensor x = device.From(a, [m, k]), w = device.From(b, [k, n]);
            using Tensor y = device.Empty([m, n]), d = device.Empty([m, k]), dw = device.Empty([k, n]);
            using FrozenMatrix frozen = device.Freeze(w);
            device.MatMul(x, frozen, null, y);
            device.MatMulTransposed(y, frozen, d);
            device.MatMul(x, true, y, false, dw);
            return [.. y.ToArray(), .. d.ToArray(), .. dw.ToArray()];
        }
    }

    private static void Check<S, V>(Random r, int m, int n, int k) where S : struct, ISimd<V> where V : struct
    {
        int width = 2 * S.Width;
        float[] a = OpCheck.Values(r, m * k, 1), b = OpCheck.Values(r, k * n, 1);
        float[] bias = OpCheck.Values(r, n, 1), start = OpCheck.Values(r, m * n, 1);
        float[] packed = new float[(n + width - 1) / width * width * k], c = [.. start];
        for (int j = 0; j < n; j++)
            for (int p = 0; p < k; p++)
                packed[(j / width * k + p) * width + j % width] = b[p * n + j];
        fixed (float* pa = a, pb = packed, pc = c, pd = bias)
            Gemm.Block<S, V>(m, n, k, new Operand(pa, k, 1), pb, width * k, pc, n, 0.5f, pd, accumulate: true);
        double[] expected = Reference.MatMul(OpCheck.Wide(a), OpCheck.Wide(b), m, k, n);
        for (int i = 0; i < c.Length; i++)
            Assert.Equal(0.5 * expected[i] + bias[i % n] + start[i], c[i], 2e-5);       // 50 products of magnitude 1 in float32
    }
}
