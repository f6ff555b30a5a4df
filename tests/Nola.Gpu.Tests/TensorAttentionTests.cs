using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Attention on tensor cores against double precision, held to what bfloat16 allows it. The inputs are numbers that
/// bfloat16 has, so that what is left to round is P and dS, each by at most 2⁻⁸ of itself, and float32's sums and powers.
/// </summary>
public sealed class TensorAttentionTests : IDisposable
{
    // bfloat16's unit roundoff; and what float32 may add, of sums of up to 130 terms of size one, exponentials and logarithms.
    private const double Unit = 1.0 / 256, Single = 1e-5;

    private readonly GpuDevice device = TestGpu.WithTensorCores();

    public void Dispose() => device.Dispose();

    // Columns and numbers of heads, whether tokens see those after them, and where sequences start.
    public static TheoryData<int, int, int, bool, int[]> Layouts() => new()
    {
        { 64, 3, 3, true, [0, 1, 34, 34, 39] },
        { 64, 1, 1, true, [0, 5, 136] },                 // three blocks of queries, and tiles of keys that no mask touches
        { 128, 2, 2, true, [0, 3, 20] },
        { 128, 1, 1, true, [0, 67] },
        { 64, 4, 2, true, [0, 1, 20] },
        { 128, 2, 1, true, [0, 3, 20] },
        { 64, 2, 1, false, [0, 3, 3, 22] },
        { 64, 1, 1, false, [0, 5, 134] },                // two whole tiles of keys, and one key of a third
        { 64, 1, 1, false, [0, 64, 112] },               // nothing to mask but tiles' ends
        { 128, 1, 1, false, [0, 3, 20] },
    };

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Values_err_by_the_rounding_of_P_alone(int size, int heads, int keyValueHeads, bool causal, int[] starts)
    {
        AttentionLayout layout = new(heads, keyValueHeads, size, causal);
        Case x = new(new Random(size + heads), layout, starts);
        using Tensor qkv = device.From(x.Qkv, [x.Rows, layout.Width]), sequences = device.From(starts);
        using Tensor y = device.Empty([x.Rows, layout.QueryWidth]), lse = device.Empty([heads, x.Rows]);
        device.Fill(y, float.NaN);
        device.Fill(lse, float.NaN);
        device.Attention(qkv, sequences, layout, y, lse);
        x.Y.Holds(y.ToArray());
        x.Lse.Holds(lse.ToArray());
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Gradients_err_by_the_rounding_of_P_and_dS_alone(int size, int heads, int keyValueHeads, bool causal, int[] starts)
    {
        // From y and lse in float32, as any other device's forward pass leaves them.
        AttentionLayout layout = new(heads, keyValueHeads, size, causal);
        Case x = new(new Random(size - heads), layout, starts);
        using Tensor qkv = device.From(x.Qkv, [x.Rows, layout.Width]), sequences = device.From(starts);
        using Tensor dy = device.From(x.Dy, [x.Rows, layout.QueryWidth]);
        using Tensor y = device.From(x.Y.Floats, dy.Shape);
        using Tensor lse = device.From(x.Lse.Floats, [heads, x.Rows]), dqkv = device.Empty(qkv.Shape);
        device.Fill(dqkv, float.NaN);
        device.AttentionGrad(qkv, sequences, layout, y, lse, dy, dqkv);
        float[] once = dqkv.ToArray();
        x.Dqkv.Holds(once);
        device.AttentionGrad(qkv, sequences, layout, y, lse, dy, dqkv, 1);
        Assert.All(dqkv.ToArray().Zip(once), pair => Assert.Equal(2 * pair.Second, pair.First, Math.Abs(pair.Second) * 1e-6f));
    }

    [Fact]
    public void Windows_take_the_float32_kernels_unless_no_sequence_outgrows_them()
    {
        Random r = new(3);
        float[] values = OpCheck.Values(r, 6 * 3 * 64, 1);
        using Tensor qkv = device.From(values, [6, 3 * 64]), starts = device.From([0, 6]);
        Assert.Equal(Forward(0), Forward(6));
        // Not rounded to bfloat16.
        OpCheck.Close(Reference.Attention(OpCheck.Wide(values), [0, 6], new(1, 1, 64, window: 5)), Forward(5), Single);

        float[] Forward(int window)
        {
            using Tensor y = device.Empty([6, 64]), lse = device.Empty([1, 6]);
            device.Attention(qkv, starts, new(1, 1, 64, window: window), y, lse);
            return y.ToArray();
        }
    }

    [Fact]
    public void A_sequence_of_one_token_has_a_gradient_for_its_value_alone()
    {
        // Rows of dS sum to zero, so here dS is zero, though dy and v are rounded: 64 terms of float32 remain.
        Random r = new(5);
        float[] grads = OpCheck.Values(r, 3 * 64, 1);
        using Tensor qkv = device.From(OpCheck.Values(r, 3 * 3 * 64, 1), [3, 3 * 64]);
        using Tensor starts = device.From([0, 1, 2, 3]), dy = device.From(grads, [3, 64]);
        using Tensor y = device.Empty(dy.Shape), lse = device.Empty([1, 3]), dqkv = device.Empty(qkv.Shape);
        AttentionLayout layout = AttentionLayout.Of(64, 1);
        device.Attention(qkv, starts, layout, y, lse);
        device.AttentionGrad(qkv, starts, layout, y, lse, dy, dqkv);
        float[] got = dqkv.ToArray();
        for (int row = 0; row < 3; row++)
            for (int d = 0; d < 64; d++)
            {
                Assert.Equal(0, got[3 * row * 64 + d], Single);
                Assert.Equal(0, got[(3 * row + 1) * 64 + d], Single);
                Assert.Equal(DTypes.FromBFloat16(DTypes.ToBFloat16(grads[row * 64 + d])), got[(3 * row + 2) * 64 + d], Single);
            }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Other_sequences_are_never_read_into_a_result(bool causal)
    {
        // What a sequence's last tiles reach into must not matter, however bad it is.
        AttentionLayout layout = new(1, 1, 64, causal);
        Case x = new(new Random(7), layout, [0, 33, 50]);
        float[] poisoned = [.. x.Qkv.Select((v, i) => i / layout.Width < 33 ? v : float.NaN)];
        using Tensor good = device.From(x.Qkv, [x.Rows, layout.Width]);
        using Tensor bad = device.From(poisoned, good.Shape), starts = device.From([0, 33, 50]);
        Assert.Equal(First(good), First(bad));

        float[] First(Tensor qkv)
        {
            using Tensor y = device.Empty([x.Rows, layout.QueryWidth]), lse = device.Empty([1, x.Rows]);
            using Tensor dy = device.From(x.Dy, y.Shape), dqkv = device.Empty(qkv.Shape);
            device.Attention(qkv, starts, layout, y, lse);
            device.AttentionGrad(qkv, starts, layout, y, lse, dy, dqkv);
            return [.. y.ToArray().Take(33 * layout.QueryWidth), .. lse.ToArray().Take(33), .. dqkv.ToArray().Take(33 * layout.Width)];
        }
    }

    /// <summary>Values in double precision, and how far each may be missed.</summary>
    private sealed class Bounded(int count)
    {
        public double[] Value { get; } = new double[count];

        public double[] Bound { get; } = new double[count];

        public float[] Floats => [.. Value.Select(v => (float)v)];

        public void Holds(float[] got)
        {
            for (int i = 0; i < count; i++)
                Assert.True(
                    Math.Abs(got[i] - Value[i]) <= Bound[i] + Single,
                    $"element {i}: {got[i]} for {Value[i]}, bound {Bound[i] + Single:E1}");
        }
    }

    /// <summary>Inputs that bfloat16 has, and everything that follows from them.</summary>
    private sealed class Case
    {
        private readonly AttentionLayout layout;
        private readonly int size;

        public Case(Random r, AttentionLayout layout, int[] starts)
        {
            (this.layout, size, Rows) = (layout, layout.HeadSize, starts[^1]);
            Qkv = Halves(r, Rows * layout.Width);
            Dy = Halves(r, Rows * layout.QueryWidth);
            (Y, Lse, Dqkv) = (new(Dy.Length), new(layout.Heads * Rows), new(Qkv.Length));
            for (int s = 0; s + 1 < starts.Length; s++)
                for (int h = 0; h < layout.Heads; h++)
                    for (int i = starts[s]; i < starts[s + 1]; i++) Row(h, starts[s], i, layout.Causal ? i + 1 : starts[s + 1]);
        }

        public int Rows { get; }

        public float[] Qkv { get; }

        public float[] Dy { get; }

        public Bounded Y { get; }

        public Bounded Lse { get; }

        public Bounded Dqkv { get; }

        // Query i of head h, which sees keys begin … end − 1, and what it adds to their gradients.
        private void Row(int h, int begin, int i, int end)
        {
            double scale = 1 / Math.Sqrt(size);
            double[] score = [.. Enumerable.Range(begin, end - begin).Select(j => scale * Dot(Qkv, At(i, 0, h), Qkv, At(j, 1, h)))];
            double lse = score.Max() + Math.Log(score.Sum(v => Math.Exp(v - score.Max())));
            double[] p = [.. score.Select(v => Math.Exp(v - lse))];
            Lse.Value[h * Rows + i] = lse;
            int to = i * layout.QueryWidth + h * size;
            for (int j = 0; j < p.Length; j++)
                for (int d = 0; d < size; d++) Add(Y, to + d, p[j] * Qkv[At(begin + j, 2, h) + d]);
            double dot = Enumerable.Range(0, size).Sum(d => Y.Value[to + d] * Dy[to + d]);
            for (int j = 0; j < p.Length; j++)
            {
                double ds = scale * p[j] * (Dot(Dy, to, Qkv, At(begin + j, 2, h)) - dot);
                for (int d = 0; d < size; d++)
                {
                    Add(Dqkv, At(i, 0, h) + d, ds * Qkv[At(begin + j, 1, h) + d]);
                    Add(Dqkv, At(begin + j, 1, h) + d, ds * Qkv[At(i, 0, h) + d]);
                    Add(Dqkv, At(begin + j, 2, h) + d, p[j] * Dy[to + d]);
                }
            }
        }

        // A term whose one factor was rounded.
        private static void Add(Bounded sum, int at, double term)
        {
            sum.Value[at] += term;
            sum.Bound[at] += Unit * Math.Abs(term);
        }

        // Of q (0), of k (1) or of v (2), for query head h.
        private int At(int row, int which, int h) =>
            row * layout.Width + (which == 0 ? h : layout.Heads + (which - 1) * layout.KeyValueHeads + h / layout.Group) * size;

        private double Dot(float[] a, int i, float[] b, int j) => Enumerable.Range(0, size).Sum(d => (double)a[i + d] * b[j + d]);

        private static float[] Halves(Random r, int count) =>
            [.. OpCheck.Values(r, count, 1).Select(v => DTypes.FromBFloat16(DTypes.ToBFloat16(v)))];
    }
}
