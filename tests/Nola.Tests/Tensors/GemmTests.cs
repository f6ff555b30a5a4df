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

    // What an adapter multiplies: one side is its rank, and the steps are inputs, outputs or tokens, on rows that may lie a multiple of
    // 4 KiB apart. Each of these has a way of its own through Gemm.
    [Property(MaxTest = 60)]
    public void Products_with_a_small_side_are_right_for_any_number_of_threads(int seed)
    {
        Random r = new(seed);
        int[] sides = [1 + r.Next(r.Next(2) == 0 ? 9 : 40), 1 + r.Next(300), r.Next(3) == 0 ? 1024 : 1 + r.Next(300)];
        r.Shuffle(sides);
        (int m, int n, int k) = (sides[0], sides[1], sides[2]);
        bool transposeA = r.Next(2) == 0, transposeB = r.Next(2) == 0;
        // Each is some columns of a wider tensor, and what is beside them stays as it was.
        int first = r.Next(3), beside = first + r.Next(3);
        (int rowsA, int columnsA) = transposeA ? (k, m) : (m, k);
        (int rowsB, int columnsB) = transposeB ? (n, k) : (k, n);
        float alpha = r.NextSingle(), beta = r.Next(2);
        float[] a = OpCheck.Values(r, rowsA * (columnsA + beside), 1), b = OpCheck.Values(r, rowsB * (columnsB + beside), 1);
        float[] start = OpCheck.Values(r, m * (n + beside), 1);
        float[]? bias = r.Next(3) == 0 ? OpCheck.Values(r, n, 1) : null;
        float[] one = Product(1);
        Assert.Equal(one, Product(3));
        double[] expected = Reference.MatMul(Operand(a, rowsA, columnsA, transposeA), Operand(b, rowsB, columnsB, transposeB), m, k, n);
        for (int i = 0; i < one.Length; i++)
        {
            int row = i / (n + beside), column = i % (n + beside) - first;
            bool inside = column >= 0 && column < n;
            double wanted = inside ? alpha * expected[row * n + column] + (bias?[column] ?? 0) + beta * start[i] : start[i];
            // Elements are below 1: a sum of k products is within k · 2⁻²³ · k of itself at the very worst, and far nearer as a rule.
            Assert.Equal(wanted, one[i], inside ? 1e-6 + k * 2e-7 : 0);
        }

        float[] Product(int threads)
        {
            using CpuDevice device = new(threads);
            using Tensor x = device.From(a, [rowsA, columnsA + beside]), w = device.From(b, [rowsB, columnsB + beside]);
            using Tensor y = device.From(start, [m, n + beside]);
            using Tensor? added = bias is null ? null : device.From(bias, [n]);
            device.MatMul(
                ((Matrix)x).SliceColumns(first, columnsA), transposeA, ((Matrix)w).SliceColumns(first, columnsB), transposeB,
                ((Matrix)y).SliceColumns(first, n), alpha, beta, added);
            return y.ToArray();
        }

        double[] Operand(float[] values, int rows, int columns, bool transposed) => [.. Enumerable.Range(0, rows * columns).Select(i =>
        {
            (int row, int column) = transposed ? (i % rows, i / rows) : (i / columns, i % columns);
            return (double)values[row * (columns + beside) + first + column];
        })];
    }

    // A token that is decoded alone gets the bits that it gets among the tokens of a prompt.
    [Property(MaxTest = 60)]
    public void A_row_of_a_product_with_few_columns_is_the_same_alone_and_among_others(int seed)
    {
        Random r = new(seed);
        int m = 2 + r.Next(30), n = 1 + r.Next(Gemm.MostNarrow + 2), k = 1 + r.Next(300);
        float alpha = r.NextSingle();
        using CpuDevice device = new(2);
        using Tensor x = device.From(OpCheck.Values(r, m * k, 1), [m, k]), w = device.From(OpCheck.Values(r, k * n, 1), [k, n]);
        using Tensor all = device.Empty([m, n]), alone = device.Empty([m, n]);
        device.MatMul(x, false, w, false, all, alpha);
        for (int i = 0; i < m; i++)
            device.MatMul(((Matrix)x).SliceRows(i, 1), false, w, false, ((Matrix)alone).SliceRows(i, 1), alpha);
        Assert.Equal(all.ToArray(), alone.ToArray());
    }

    [Property(MaxTest = 40)]
    public void Every_vector_width_multiplies_narrow_products_right(int seed)
    {
        Random r = new(seed);
        int m = 1 + r.Next(100), n = 1 + r.Next(Gemm.MostNarrow), k = 1 + r.Next(150), apart = r.Next(3);
        CheckNarrow<Simd128, Vector128<float>>(r, m, n, k, apart);
        CheckNarrow<Simd256, Vector256<float>>(r, m, n, k, apart);
        CheckNarrow<Simd512, Vector512<float>>(r, m, n, k, apart);
    }

    // Rows are longer than what is multiplied, and what is between them stays as it was.
    private static void CheckNarrow<S, V>(Random r, int m, int n, int k, int apart) where S : struct, ISimd<V> where V : struct
    {
        float[] a = OpCheck.Values(r, m * (k + apart), 1), b = OpCheck.Values(r, n * (k + apart), 1), bias = OpCheck.Values(r, n, 1);
        float[] start = OpCheck.Values(r, m * (n + apart), 1), c = [.. start], alone = new float[m * n], among = new float[m * n];
        float[] outerStart = OpCheck.Values(r, n * (k + apart), 1), outer = [.. outerStart], few = OpCheck.Values(r, m * (n + apart), 1);
        fixed (float* pa = a, pb = b, pc = c, pd = bias, po = outer, pf = few, pl = alone, pm = among)
        {
            new Gemm.DotRows(n, k, pa, k + apart, pb, k + apart, pc, n + apart, 0.5f, pd, accumulate: true).Run<S, V>(0, m);
            Gemm.DotRows plain = new(n, k, pa, k + apart, pb, k + apart, pl, n, 0.5f, null, accumulate: false);
            for (int i = 0; i < m; i++) plain.Run<S, V>(i, i + 1);
            new Gemm.DotRows(n, k, pa, k + apart, pb, k + apart, pm, n, 0.5f, null, accumulate: false).Run<S, V>(0, m);
            new Gemm.OuterRows(n, m, pf, n + apart, pa, k + apart, po, k + apart).Run<S, V>(0, k);
        }
        Assert.Equal(among, alone);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n + apart; j++)
            {
                double sum = 0;
                for (int p = 0; p < k && j < n; p++) sum += (double)a[i * (k + apart) + p] * b[j * (k + apart) + p];
                double wanted = start[i * (n + apart) + j] + (j < n ? 0.5 * sum + bias[j] : 0);
                Assert.Equal(wanted, c[i * (n + apart) + j], 3e-5);         // 150 products of magnitude 1 in float32
            }
        for (int j = 0; j < n; j++)
            for (int p = 0; p < k + apart; p++)
            {
                double wanted = outerStart[j * (k + apart) + p];
                for (int t = 0; t < m && p < k; t++) wanted += (double)few[t * (n + apart) + j] * a[t * (k + apart) + p];
                Assert.Equal(wanted, outer[j * (k + apart) + p], 2e-5);      // 100 products
            }
    }

    private static void Check<S, V>(Random r, int m, int n, int k) where S : struct, ISimd<V> where V : struct
    {
        int width = 2 * S.Width;
        float[] a = OpCheck.Values(r, m * k, 1), b = OpCheck.Values(r, k * n, 1);
        float[] bias = OpCheck.Values(r, n, 1), start = OpCheck.Values(r, m * n, 1), scales = OpCheck.Values(r, n, 1);
        bool scaled = r.Next(2) == 0;
        float[] packed = new float[(n + width - 1) / width * width * k], c = [.. start];
        for (int j = 0; j < n; j++)
            for (int p = 0; p < k; p++)
                packed[(j / width * k + p) * width + j % width] = b[p * n + j];
        fixed (float* pa = a, pb = packed, pc = c, pd = bias, ps = scales)
            Gemm.Block<S, V>(
                m, n, k, new Operand(pa, k, 1), pb, width * k, pc, n, 0.5f, pd, accumulate: true, scaled ? ps : null);
        double[] expected = Reference.MatMul(OpCheck.Wide(a), OpCheck.Wide(b), m, k, n);
        for (int i = 0; i < c.Length; i++)
        {
            double alpha = scaled ? 0.5 * scales[i % n] : 0.5;
            Assert.Equal(alpha * expected[i] + bias[i % n] + start[i], c[i], 2e-5);     // 50 products of magnitude 1 in float32
        }
    }
}
