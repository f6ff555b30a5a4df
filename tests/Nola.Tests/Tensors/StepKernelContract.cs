using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>What every device must do with the small kernels of a training step that spare the host a wait.</summary>
public abstract class StepKernelContract(Device device)
{
    protected Device Device => device;

    [Contract(40)]
    public void Rounded_rows_have_the_bits_of_the_specification(int seed)
    {
        Random r = new(seed);
        int n = 1 + r.Next(4), c = 1 + r.Next(ContractRuns.Sizes(600)), levels = ((int[])[127, 7, 3, 1])[r.Next(4)];
        // Of every size that float32 has, with ties, zeros, and rows that cannot be rounded.
        float[] x = [.. Enumerable.Range(0, n).SelectMany(_ => OpCheck.Values(r, c, Math.Pow(10, r.Next(-44, 38))))];
        for (int i = 0; i < x.Length; i++)
            if (r.Next(4) == 0) x[i] = MathF.Round(x[i], 1);
        if (r.Next(3) == 0) x[r.Next(x.Length)] = ((float[])[float.NaN, float.PositiveInfinity, float.MaxValue, -0f])[r.Next(4)];
        float[] expected = [.. x];
        for (int i = 0; i < n; i++)
        {
            Span<float> row = expected.AsSpan(i * c, c);
            float step = SymmetricRounding.Step(row, levels);
            foreach (ref float value in row) value = step * SymmetricRounding.Code(value, step, levels);
        }
        using Tensor from = device.From(x, [n, c]), to = device.Empty([n, c]);
        device.RoundRows(from, levels, to);
        Assert.Equal([.. expected.Select(BitsOf)], [.. to.ToArray().Select(BitsOf)]);
        device.RoundRows(to, levels, to);
        if (expected.All(float.IsFinite)) Assert.Equal([.. expected.Select(BitsOf)], [.. to.ToArray().Select(BitsOf)]);
    }

    [Contract(30)]
    public void Losses_are_added_and_gradients_clipped_by_their_common_norm(int seed)
    {
        Random r = new(seed);
        float[][] values = [.. Enumerable.Range(0, 1 + r.Next(3)).Select(_ => OpCheck.Values(r, 1 + r.Next(ContractRuns.Sizes(300)), 2))];
        Tensor[] gradients = [.. values.Select(v => device.From(v, [v.Length]))];
        using Tensor record = device.Empty([3, 2], DType.Float64), scale = One();
        using Tensor first = device.From([1.25f], []), second = device.From([0.1f], []);
        double norm = Math.Sqrt(values.Sum(v => v.Sum(x => (double)x * x)));
        foreach ((int step, float limit) in (ReadOnlySpan<(int, float)>)[(0, 0), (2, (float)(norm / 3)), (1, (float)(norm * 2))])
        {
            device.AddLoss(first, record, step, 0);
            device.AddLoss(second, record, step, 1);
            device.ClipScale(gradients, limit, record, step, scale);
            double[] read = Read(record);
            Assert.Equal(1.25 + 0.1f, read[2 * step]);
            Assert.Equal(norm, read[2 * step + 1], 1e-13 * norm);        // double sums of another order
            Assert.Equal(step == 2 ? (float)(limit / read[2 * step + 1]) : 1, scale.Item());
        }
        foreach (Tensor gradient in gradients) gradient.Dispose();
    }

    [Theory]
    [InlineData(float.NaN, 1f)]
    [InlineData(float.PositiveInfinity, 1f)]
    [InlineData(1f, float.NaN)]
    [InlineData(1f, float.NegativeInfinity)]
    public void After_a_loss_or_gradient_that_is_not_finite_nothing_is_updated(float loss, float gradient)
    {
        using Tensor record = device.Empty([2, 2], DType.Float64), scale = One();
        using Tensor bad = device.From([loss], []), good = device.From([1f], []);
        using Tensor g = device.From([1, gradient], [2]), fine = device.From([1, 2], [2]);
        using Tensor p = device.From([3, 4], [2]), m = device.Zeros([2]), v = device.Zeros([2]);
        device.AddLoss(bad, record, 0, 0);
        device.ClipScale([g], 1, record, 0, scale);
        Update(g);
        device.AddLoss(good, record, 1, 0);
        device.ClipScale([fine], 1, record, 1, scale);
        Update(fine);
        Assert.Equal([3, 4, 0, 0, 0, 0], [.. p.ToArray(), .. m.ToArray(), .. v.ToArray()]);
        double[] read = Read(record);
        Assert.Equal([(double)loss, Math.Sqrt(1 + (double)gradient * gradient), 1, Math.Sqrt(5)], read);

        void Update(Tensor gradient) => device.AdamW(p, gradient, m, v, new AdamWStep(0.1f, 0.9f, 0.999f, 1e-6f, 0.1f, 1), scale);
    }

    [Fact]
    public void AdamW_scales_the_gradient_by_what_is_on_the_device()
    {
        Random r = new(4);
        float[] p = OpCheck.Values(r, 37, 1), g = OpCheck.Values(r, 37, 1);
        using Tensor quarter = device.From([0.25f], []);
        Assert.Equal(Stepped(0.125f, null), Stepped(0.5f, quarter));

        float[] Stepped(float own, Tensor? scale)
        {
            using Tensor x = device.From(p, [37]), gradient = device.From(g, [37]), m = device.Zeros([37]), v = device.Zeros([37]);
            device.AdamW(x, gradient, m, v, new AdamWStep(0.1f, 0.9f, 0.999f, 1e-6f, 0.1f, 1, own), scale);
            return [.. x.ToArray(), .. m.ToArray(), .. v.ToArray()];
        }
    }

    [Fact]
    public void No_gradient_at_all_has_the_norm_0()
    {
        using Tensor record = device.Empty([1, 2], DType.Float64), scale = One(), loss = device.Zeros([]);
        device.AddLoss(loss, record, 0, 0);
        device.ClipScale([], 1, record, 0, scale);
        Assert.Equal([0, 0], Read(record));
        Assert.Equal(1, scale.Item());
    }

    [Fact]
    public void Sizes_of_a_record_that_do_not_fit_are_named()
    {
        using Tensor record = device.Empty([2, 2], DType.Float64), flat = device.Empty([4], DType.Float64);
        using Tensor two = device.Zeros([2]), one = device.Zeros([]);
        Assert.Contains("step 2 of a record (2, 2)", Assert.Throws<ShapeException>(() => device.AddLoss(one, record, 2, 0)).Message);
        Assert.Contains("expected (n, 2)", Assert.Throws<ShapeException>(() => device.ClipScale([], 1, flat, 0, one)).Message);
        Assert.Contains("expected one element", Assert.Throws<ShapeException>(() => device.AddLoss(two, record, 0, 0)).Message);
        Assert.Contains("expected one element", Assert.Throws<ShapeException>(() => device.ClipScale([], 1, record, 0, two)).Message);
        Assert.Contains("scale is (2)", Assert.Throws<ShapeException>(() => device.AdamW(two, two, two, two, default, two)).Message);
        Assert.Contains("levels is 128", Assert.Throws<ArgumentException>(() => device.RoundRows(two, 128, two)).Message);
    }

    private static int BitsOf(float x) => BitConverter.SingleToInt32Bits(float.IsNaN(x) ? float.NaN : x);

    private static double[] Read(Tensor record)
    {
        double[] numbers = new double[record.Length];
        record.Device.Download(record, numbers);
        return numbers;
    }

    private Tensor One() => device.From([1f], []);
}
