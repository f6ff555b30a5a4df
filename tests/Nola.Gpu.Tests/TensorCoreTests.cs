using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Products on tensor cores, whose instructions are simulated element by element: fragments, swizzle, transposes and
/// pipeline. Whole numbers up to 8 are exact in bfloat16 and their sums in float32, so nothing may differ.
/// </summary>
public sealed class TensorCoreTests : IDisposable
{
    private readonly GpuDevice device = TestGpu.WithTensorCores();

    public void Dispose() => device.Dispose();

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Every_order_of_operands_is_exact(bool transposeA, bool transposeB)
    {
        Random r = new(1);
        const int M = 33, K = 70, N = 129;
        float[] a = Whole(r, M * K), b = Whole(r, K * N), start = Whole(r, M * N), bias = Whole(r, N);
        double[] product = Reference.MatMul(
            OpCheck.Wide(transposeA ? Transposed(a, K, M) : a), OpCheck.Wide(transposeB ? Transposed(b, N, K) : b), M, K, N);
        using Tensor x = device.From(a, transposeA ? [K, M] : [M, K]), w = device.From(b, transposeB ? [N, K] : [K, N]);
        using Tensor y = device.From(start, [M, N]), shift = device.From(bias, [N]);
        device.MatMul(x, transposeA, w, transposeB, y, 2, 1, shift);
        Assert.Equal([.. product.Select((v, i) => (float)(2 * v + bias[i % N] + start[i]))], y.ToArray());
    }

    [Theory]
    [InlineData(WeightFormat.Float32, false)]
    [InlineData(WeightFormat.BFloat16, true)]
    public void A_frozen_weight_is_read_both_ways_from_one_copy(WeightFormat format, bool transposed)
    {
        Random r = new(2);
        const int Rows = 20, In = 40, Out = 24;
        float[] w = Whole(r, In * Out), x = Whole(r, Rows * In), dy = Whole(r, Rows * Out);
        using Tensor weight = transposed ? device.From(Transposed(w, In, Out), [Out, In]) : device.From(w, [In, Out]);
        using FrozenMatrix frozen = device.Freeze(weight, transposed, format);
        using Tensor input = device.From(x, [Rows, In]), y = device.Empty([Rows, Out]);
        using Tensor grad = device.From(dy, [Rows, Out]), dx = device.Empty([Rows, In]);
        device.MatMul(input, frozen, null, y);
        device.MatMulTransposed(grad, frozen, dx);
        Assert.Equal(Reference.MatMul(OpCheck.Wide(x), OpCheck.Wide(w), Rows, In, Out), OpCheck.Wide(y.ToArray()));
        Assert.Equal(
            Reference.MatMul(OpCheck.Wide(dy), Reference.Transpose(OpCheck.Wide(w), In, Out), Rows, Out, In), OpCheck.Wide(dx.ToArray()));
    }

    [Theory]
    [InlineData(WeightFormat.Int8)]
    [InlineData(WeightFormat.Nf4)]
    [InlineData(WeightFormat.Nf4Double)]
    public void A_weight_in_codes_is_expanded_for_both_products(WeightFormat format)
    {
        // What codes stand for is rounded to bfloat16 as any operand is, so that a weight of these values gives the same bits.
        Random r = new(5);
        const int Rows = 20, In = 128, Out = 24;
        using Tensor expanded = device.Empty([Out, In]), u = device.From(OpCheck.Values(r, Rows * Out, 1), [Rows, Out]);
        QuantizedMatrix matrix = QuantizedMatrix.Of(format, OpCheck.Values(r, In * Out, 1), Out, In);
        using FrozenMatrix codes = device.Freeze([matrix]);
        device.Unpack(codes, expanded, transposed: true);
        Assert.Equal(matrix.Values(), expanded.ToArray());
        using FrozenMatrix same = device.Freeze(expanded, transposed: true);
        using Tensor input = device.From(OpCheck.Values(r, Rows * In, 1), [Rows, In]);
        using Tensor grad = device.From(OpCheck.Values(r, Rows * Out, 1), [Rows, Out]);
        Assert.Equal(All(same), All(codes));

        float[] All(FrozenMatrix w)
        {
            using Tensor y = device.Empty([Rows, Out]), dx = device.Empty([Rows, In]), after = device.Empty([Rows, In]);
            using Tensor activated = device.Empty([Rows, Out]), before = device.From(u.ToArray(), [Rows, Out]);
            device.MatMul(input, w, null, y, 0, null, activated);
            device.MatMulTransposed(grad, w, dx);
            device.MatMulTransposed(grad, w, after, 0, before);
            return [.. y.ToArray(), .. activated.ToArray(), .. dx.ToArray(), .. after.ToArray()];
        }
    }

    [Fact]
    public void Parts_of_the_inner_dimension_add_up()
    {
        Random r = new(3);
        const int M = 17, K = 300, N = 18;
        float[] a = Whole(r, M * K), b = Whole(r, K * N);
        using Tensor x = device.From(a, [M, K]), w = device.From(b, [K, N]), y = device.Empty([M, N]);
        device.MatMul(x, false, w, false, y);
        Assert.Equal(Reference.MatMul(OpCheck.Wide(a), OpCheck.Wide(b), M, K, N), OpCheck.Wide(y.ToArray()));
    }

    [Fact]
    public void Operands_are_rounded_to_bfloat16_and_sums_are_not()
    {
        Random r = new(4);
        const int M = 20, K = 40, N = 20;
        float[] a = OpCheck.Values(r, M * K, 1), b = OpCheck.Values(r, K * N, 1);
        double[] expected = Reference.MatMul([.. a.Select(Rounded)], [.. b.Select(Rounded)], M, K, N);
        using Tensor x = device.From(a, [M, K]), w = device.From(b, [K, N]), y = device.Empty([M, N]);
        device.MatMul(x, false, w, false, y);
        OpCheck.Close(expected, y.ToArray(), 1e-6);

        static double Rounded(float v) => DTypes.FromBFloat16(DTypes.ToBFloat16(v));
    }

    [Theory]
    [InlineData(29, 40)]                // the last three of a row, and a second block of rows
    [InlineData(28, 17)]
    public void The_heads_gradient_is_rounded_where_it_is_made(int vocabulary, int rows)
    {
        const int C = 20;
        const double Scale = 0.5, Smoothing = 0.1;
        Random r = new(7);
        float[] x = Halves(r, rows * C), w = Halves(r, C * vocabulary), start = Halves(r, vocabulary * C);
        int[] targets = [.. Enumerable.Range(0, rows).Select(i => i % vocabulary)];
        double[] logits = Reference.MatMul(OpCheck.Wide(x), OpCheck.Wide(w), rows, C, vocabulary);
        double[] g = new double[rows * vocabulary], losses = new double[rows];
        for (int i = 0; i < rows; i++)
        {
            double[] row = logits[(i * vocabulary)..((i + 1) * vocabulary)];
            double lse = Math.Log(row.Sum(Math.Exp));
            losses[i] = (1 - Smoothing) * (lse - row[targets[i]]) + Smoothing * (lse - row.Average());
            for (int j = 0; j < vocabulary; j++)
            {
                double target = (j == targets[i] ? 1 - Smoothing : 0) + Smoothing / vocabulary;
                g[i * vocabulary + j] = Rounded((float)(Scale * (Math.Exp(row[j] - lse) - target)));
            }
        }
        using Tensor input = device.From(x, [rows, C]), weight = device.From(w, [C, vocabulary]), ids = device.From(targets);
        using Tensor loss = device.Empty([rows]), dx = device.Empty([rows, C]), dhead = device.From(start, [vocabulary, C]);
        using FrozenMatrix head = device.Freeze(weight);
        device.HeadCrossEntropy(input, head, ids, (float)Smoothing, loss, dx, dhead, (float)Scale, 1);
        OpCheck.Close(losses, loss.ToArray(), 1e-5);
        // A gradient that lies between two numbers of bfloat16 may go to the other one, 2⁻⁸ of it away; of those summed few do.
        OpCheck.Close(Reference.MatMul(g, Reference.Transpose(OpCheck.Wide(w), C, vocabulary), rows, vocabulary, C), dx.ToArray(), 1e-3);
        double[] product = Reference.MatMul(Reference.Transpose(g, rows, vocabulary), OpCheck.Wide(x), vocabulary, rows, C);
        OpCheck.Close([.. product.Select((v, i) => v + start[i])], dhead.ToArray(), 1e-3);

        static float[] Halves(Random r, int count) => [.. OpCheck.Values(r, count, 1).Select(v => (float)Rounded(v))];

        static double Rounded(float v) => DTypes.FromBFloat16(DTypes.ToBFloat16(v));
    }

    [Theory]
    [MemberData(nameof(TileNames))]
    public void Every_tile_is_exact_in_every_order(string name)
    {
        // Every warp, an edge inside one, a second tile, and more strips than shared memory holds.
        TensorTile tile = TensorTile.All.Single(t => t.Name == name);
        int m = tile.Rows - 10, k = 100, n = tile.Columns + 5;
        Random r = new(5);
        float[] a = Whole(r, m * k), b = Whole(r, k * n);
        float[] expected = [.. Reference.MatMul(OpCheck.Wide(a), OpCheck.Wide(b), m, k, n).Select(v => (float)v)];
        device.TileTable = TileTable.Always(tile);
        foreach ((bool transposeA, bool transposeB) in (ReadOnlySpan<(bool, bool)>)[(false, false), (false, true), (true, false)])
        {
            using Tensor x = device.From(transposeA ? Transposed(a, m, k) : a, transposeA ? [k, m] : [m, k]);
            using Tensor w = device.From(transposeB ? Transposed(b, k, n) : b, transposeB ? [n, k] : [k, n]), y = device.Empty([m, n]);
            device.MatMul(x, transposeA, w, transposeB, y);
            Assert.Equal(expected, y.ToArray());
        }
    }

    [Fact]
    public void Tiles_differ_in_speed_and_not_in_bits()
    {
        const int M = 70, K = 70, N = 40;
        Random r = new(6);
        using Tensor x = device.From(OpCheck.Values(r, M * K, 1), [M, K]);
        using Tensor w = device.From(OpCheck.Values(r, K * N, 1), [K, N]), y = device.Empty([M, N]);
        float[][] results = [.. TensorTile.All.Select(With)];
        Assert.All(results, result => Assert.Equal(results[0], result));

        float[] With(TensorTile tile)
        {
            device.TileTable = TileTable.Always(tile);
            device.MatMul(x, false, w, false, y);
            return y.ToArray();
        }
    }

    public static TheoryData<string> TileNames() => [.. TensorTile.All.Select(t => t.Name)];

    internal static float[] Whole(Random r, int count) => [.. Enumerable.Range(0, count).Select(_ => (float)(r.Next(17) - 8))];

    internal static float[] Transposed(float[] a, int rows, int columns) =>
        [.. Reference.Transpose(OpCheck.Wide(a), rows, columns).Select(v => (float)v)];
}
