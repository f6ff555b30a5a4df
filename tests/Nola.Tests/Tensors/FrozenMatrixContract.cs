using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>What every device must do with frozen weights.</summary>
public abstract class FrozenMatrixContract(Device device)
{
    protected Device Device => device;

    [Contract(20)]
    public void Unpacking_gives_the_weight_back(int seed)
    {
        Random r = new(seed);
        int rows = 1 + r.Next(70), columns = 1 + r.Next(70);
        float[] w = OpCheck.Values(r, rows * columns, 1);
        using Tensor weight = device.From(w, [rows, columns]), back = device.Empty([rows, columns]);
        using FrozenMatrix straight = device.Freeze(weight), turned = device.Freeze(weight, transposed: true);
        device.Unpack(straight, back);
        Assert.Equal(w, back.ToArray());
        device.Unpack(turned, back, transposed: true);
        Assert.Equal(w, back.ToArray());
    }

    [Contract(20)]
    public void Bfloat16_storage_rounds_the_weight_and_nothing_else(int seed)
    {
        Random r = new(seed);
        int n = 1 + r.Next(80), rows = 1 + r.Next(ContractRuns.Sizes(1200)), columns = 1 + r.Next(90);
        float[] w = OpCheck.Values(r, rows * columns, 1), rounded = [.. w.Select(v => DTypes.FromBFloat16(DTypes.ToBFloat16(v)))];
        using Tensor weight = device.From(w, [rows, columns]), same = device.From(rounded, [rows, columns]);
        using Tensor bias = device.From(OpCheck.Values(r, columns, 1), [columns]);
        using Tensor x = device.From(OpCheck.Values(r, n * rows, 1), [n, rows]);
        using Tensor dy = device.From(OpCheck.Values(r, n * columns, 1), [n, columns]);
        using Tensor targets = device.From([.. Enumerable.Range(0, n).Select(_ => r.Next(columns))]);
        using FrozenMatrix narrow = device.Freeze(weight, format: WeightFormat.BFloat16), wide = device.Freeze(same);
        Assert.Equal(wide.Bytes, 2 * narrow.Bytes);
        Assert.Equal(All(wide), All(narrow));

        float[] All(FrozenMatrix matrix)
        {
            using Tensor y = device.Empty([n, columns]), one = device.Empty([1, columns]);
            using Tensor first = device.From(x.ToArray()[..rows], [1, rows]);
            using Tensor dx = device.Empty([n, rows]), gathered = device.Empty([n, rows]);
            using Tensor again = device.Empty([n, rows]), losses = device.Empty([n]), head = device.Empty([n, rows]);
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

    [Theory]
    [InlineData((WeightFormat)7)]
    [InlineData((WeightFormat)(-1))]
    public void Only_known_formats_are_stored(WeightFormat format)
    {
        using Tensor weight = device.Zeros([2, 2]);
        long before = device.Pool.LiveBytes;
        Assert.Contains(
            $"the format is {format}; expected Float32 or BFloat16",
            Assert.Throws<ArgumentException>(() => device.Freeze(weight, format: format)).Message);
        Assert.Equal(before, device.Pool.LiveBytes);
    }

    [Fact]
    public void Beta_is_zero_or_one()
    {
        using Tensor x = device.Zeros([2, 2]);
        Assert.Contains("expected 0 or 1", Assert.Throws<ArgumentException>(() => device.MatMul(x, false, x, false, x, 1, 0.5f)).Message);
    }
}
