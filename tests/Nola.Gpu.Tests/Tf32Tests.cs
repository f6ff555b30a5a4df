using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Products with TF32 operands: read as they lie, with edges filled by the copy.
/// Whole numbers up to 1024 are exact in TF32.
/// </summary>
public sealed class Tf32Tests : IDisposable
{
    private readonly GpuDevice device = TestGpu.WithTf32();

    public void Dispose() => device.Dispose();

    [Theory]
    [InlineData(false, false, 70, 101)]     // no row of b begins at 16 bytes, nor of a: copies
    [InlineData(false, true, 72, 102)]      // read in place, with an edge inside 16 bytes where rows run across
    [InlineData(true, false, 41, 100)]
    [InlineData(true, true, 20, 36)]
    public void Every_order_of_operands_is_exact(bool transposeA, bool transposeB, int k, int n)
    {
        Random r = new(k);
        const int M = 36;
        // 9 bits of one and 4 of the other: products and sums stay below 2²⁴.
        float[] a = [.. Enumerable.Range(0, M * k).Select(_ => (float)(r.Next(1023) - 511))], b = TensorCoreTests.Whole(r, k * n);
        float[] start = TensorCoreTests.Whole(r, M * n), bias = TensorCoreTests.Whole(r, n);
        double[] product = Reference.MatMul(OpCheck.Wide(a), OpCheck.Wide(b), M, k, n);
        using Tensor x = device.From(transposeA ? TensorCoreTests.Transposed(a, M, k) : a, transposeA ? [k, M] : [M, k]);
        using Tensor w = device.From(transposeB ? TensorCoreTests.Transposed(b, k, n) : b, transposeB ? [n, k] : [k, n]);
        using Tensor y = device.From(start, [M, n]), shift = device.From(bias, [n]);
        device.MatMul(x, transposeA, w, transposeB, y, 2, 1, shift);
        Assert.Equal([.. product.Select((v, i) => (float)(2 * v + bias[i % n] + start[i]))], y.ToArray());
    }

    [Fact]
    public void A_slice_of_columns_is_read_in_place()
    {
        Random r = new(1);
        const int M = 20, K = 24, N = 20;
        float[] a = TensorCoreTests.Whole(r, M * 3 * K), b = TensorCoreTests.Whole(r, K * N);
        float[] middle = [.. Enumerable.Range(0, M * K).Select(i => a[i / K * 3 * K + K + i % K])];
        using Tensor x = device.From(a, [M, 3 * K]), w = device.From(b, [K, N]), y = device.Empty([M, N]);
        device.MatMul(((Matrix)x).SliceColumns(K, K), false, w, false, y);
        Assert.Equal(Reference.MatMul(OpCheck.Wide(middle), OpCheck.Wide(b), M, K, N), OpCheck.Wide(y.ToArray()));
    }

    [Fact]
    public void A_frozen_weight_in_bfloat16_is_widened_once()
    {
        Random r = new(2);
        const int Rows = 20, In = 40, Out = 24;
        float[] w = TensorCoreTests.Whole(r, In * Out), x = TensorCoreTests.Whole(r, Rows * In), dy = TensorCoreTests.Whole(r, Rows * Out);
        using Tensor weight = device.From(w, [In, Out]), input = device.From(x, [Rows, In]), y = device.Empty([Rows, Out]);
        using Tensor gradient = device.From(dy, [Rows, Out]), dx = device.Empty([Rows, In]);
        using FrozenMatrix narrow = device.Freeze(weight, format: WeightFormat.BFloat16), wide = device.Freeze(weight);
        foreach (FrozenMatrix frozen in (FrozenMatrix[])[narrow, wide])
        {
            device.MatMul(input, frozen, null, y);
            device.MatMulTransposed(gradient, frozen, dx);
            Assert.Equal(Reference.MatMul(OpCheck.Wide(x), OpCheck.Wide(w), Rows, In, Out), OpCheck.Wide(y.ToArray()));
            Assert.Equal(
                Reference.MatMul(OpCheck.Wide(dy), Reference.Transpose(OpCheck.Wide(w), In, Out), Rows, Out, In),
                OpCheck.Wide(dx.ToArray()));
        }
        Assert.Equal((6L * In * Out, 4L * In * Out), (narrow.Bytes, wide.Bytes));
    }

    [Fact]
    public void Operands_are_rounded_to_ten_bits_and_sums_are_not()
    {
        Random r = new(3);
        const int M = 20, K = 40, N = 20;
        float[] a = OpCheck.Values(r, M * K, 1), b = OpCheck.Values(r, K * N, 1);
        double[] expected = Reference.MatMul([.. a.Select(Rounded)], [.. b.Select(Rounded)], M, K, N);
        using Tensor x = device.From(a, [M, K]), w = device.From(b, [K, N]), y = device.Empty([M, N]);
        device.MatMul(x, false, w, false, y);
        // float32 sums of 40 products of magnitude up to 1.
        OpCheck.Close(expected, y.ToArray(), 1e-6);

        // To nearest: 2¹⁰ steps in a power of two.
        static double Rounded(float v)
        {
            double step = Math.ScaleB(1, Math.ILogB(v) - 10);
            return Math.Round(v / step, MidpointRounding.AwayFromZero) * step;
        }
    }
}
