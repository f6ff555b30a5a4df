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
            using Tensor x = device.From(a, [m, k]), w = device.From(b, [k, n]), y = device.Empty([m, n]), d = device.Empty([m, k]), dw = device.Empty([k, n]);
            using FrozenMatrix frozen = device.Freeze(w);
            device.MatMul(x, frozen, null, y);
            device.MatMulTransposed(y, frozen, d);
            device.MatMul(x, true, y, false, dw);
            return [.. y.ToArray(), .. d.ToArray(), .. dw.ToArray()];
        }
    }

    [Property(MaxTest = 20)]
    public void Unpacking_gives_the_weight_back(int seed)
    {
        Random r = new(seed);
        using CpuDevice device = new(2);
        int rows = 1 + r.Next(70), columns = 1 + r.Next(70);
        float[] w = OpCheck.Values(r, rows * columns, 1);
        using Tensor weight = device.From(w, [rows, columns]), back = device.Empty([rows, columns]);
        using FrozenMatrix straight = device.Freeze(weight), turned = device.Freeze(weight, transposed: true);
        device.Unpack(straight, back);
        Assert.Equal(w, back.ToArray());
        device.Unpack(turned, back, transposed: true);
        Assert.Equal(w, back.ToArray());
    }

    [Property(MaxTest = 20)]
    public void Bfloat16_storage_rounds_the_weight_and_nothing_else(int seed)
    {
        Random r = new(seed);
        using CpuDevice device = new(2);
        int n = 1 + r.Next(80), rows = 1 + r.Next(1200), columns = 1 + r.Next(90);
        float[] w = OpCheck.Values(r, rows * columns, 1), rounded = [.. w.Select(v => DTypes.FromBFloat16(DTypes.ToBFloat16(v)))];
        using Tensor weight = device.From(w, [rows, columns]), same = device.From(rounded, [rows, columns]), bias = device.From(OpCheck.Values(r, columns, 1), [columns]);
        using Tensor x = device.From(OpCheck.Values(r, n * rows, 1), [n, rows]), dy = device.From(OpCheck.Values(r, n * columns, 1), [n, columns]);
        using Tensor targets = device.From([.. Enumerable.Range(0, n).Select(_ => r.Next(columns))]);
        using FrozenMatrix narrow = device.Freeze(weight, storage: DType.BFloat16), wide = device.Freeze(same);
        Assert.Equal(wide.Bytes, 2 * narrow.Bytes);
        Assert.Equal(All(wide), All(narrow));

        float[] All(FrozenMatrix matrix)
        {
            using Tensor y = device.Empty([n, columns]), one = device.Empty([1, columns]), first = device.From(x.ToArray()[..rows], [1, rows]);
            using Tensor dx = device.Empty([n, rows]), gathered = device.Empty([n, rows]), again = device.Empty([n, rows]), losses = device.Empty([n]), head = device.Empty([n, rows]);
            device.GatherRows(matrix, targets, gathered);
            device.MatMul(x, matrix, bias, y);
            device.MatMul(first, matrix, bias, one);
            device.MatMulTransposed(dy, matrix, dx);
            // Once more with the form that the transposed product made.
            device.GatherRows(matrix, targets, again);
            Assert.Equal(gathered.ToArray(), again.ToArray());
            device.HeadCrossEntropy(x, matrix, targets, 0.1f, losses, head, null, 1);
            return [.. y.ToArray(), .. one.ToArray(), .. dx.ToArray(), .. gathered.ToArray(), .. losses.ToArray(), .. head.ToArray()];
        }
    }

    [Fact]
    public void Beta_is_zero_or_one()
    {
        using CpuDevice device = new(1);
        using Tensor x = device.Zeros([2, 2]);
        Assert.Contains("expected 0 or 1", Assert.Throws<ArgumentException>(() => device.MatMul(x, false, x, false, x, 1, 0.5f)).Message);
    }

    private static void Check<S, V>(Random r, int m, int n, int k) where S : struct, ISimd<V> where V : struct
    {
        int width = 2 * S.Width;
        float[] a = OpCheck.Values(r, m * k, 1), b = OpCheck.Values(r, k * n, 1), bias = OpCheck.Values(r, n, 1), start = OpCheck.Values(r, m * n, 1);
        float[] packed = new float[(n + width - 1) / width * width * k], c = [.. start];
        for (int j = 0; j < n; j++)
            for (int p = 0; p < k; p++)
                packed[(j / width * k + p) * width + j % width] = b[p * n + j];
        fixed (float* pa = a, pb = packed, pc = c, pd = bias)
            Gemm.Block<S, V>(m, n, k, new Operand(pa, k, 1), pb, width * k, pc, n, 0.5f, pd, accumulate: true);
        double[] expected = Reference.MatMul([.. a.Select(v => (double)v)], [.. b.Select(v => (double)v)], m, k, n);
        for (int i = 0; i < c.Length; i++)
            Assert.Equal(0.5 * expected[i] + bias[i % n] + start[i], c[i], 2e-5);       // 50 products of magnitude 1 in float32
    }
}
