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
        Sizes sizes = new(1 + r.Next(80), 1 + r.Next(ContractRuns.Sizes(1200)), 1 + r.Next(90));
        float[] w = OpCheck.Values(r, sizes.Rows * sizes.Columns, 1);
        float[] rounded = [.. w.Select(v => DTypes.FromBFloat16(DTypes.ToBFloat16(v)))];
        using Tensor weight = device.From(w, [sizes.Rows, sizes.Columns]), same = device.From(rounded, [sizes.Rows, sizes.Columns]);
        using FrozenMatrix narrow = device.Freeze(weight, format: WeightFormat.BFloat16), wide = device.Freeze(same);
        Assert.Equal(wide.Bytes, 2 * narrow.Bytes);
        Assert.Equal(Everything(wide, sizes, seed), Everything(narrow, sizes, seed));
    }

    [Contract(30)]
    public void Codes_stand_for_the_values_that_they_are_made_of_and_nothing_else_is_rounded(int seed)
    {
        Random r = new(seed);
        WeightFormat format = r.Next(3) switch { 0 => WeightFormat.Int8, 1 => WeightFormat.Nf4, _ => WeightFormat.Nf4Double };
        // Blocks that begin where rows do, and blocks that cross them.
        int rows = r.Next(2) == 0 ? 64 * (1 + r.Next(ContractRuns.Sizes(20))) : 1 + r.Next(ContractRuns.Sizes(400));
        Sizes sizes = new(1 + r.Next(40), rows, 1 + r.Next(90));
        float[] w = OpCheck.Values(r, rows * sizes.Columns, 1);
        bool transposed = r.Next(2) == 0;
        QuantizedMatrix reference = QuantizedMatrix.Of(format, transposed ? w : Turned(w, rows, sizes.Columns), sizes.Columns, rows);
        using Tensor weight = device.From(w, transposed ? [sizes.Columns, rows] : [rows, sizes.Columns]);
        using Tensor values = device.From(reference.Values(), [sizes.Columns, rows]), back = device.Empty([sizes.Columns, rows]);
        using FrozenMatrix codes = device.Freeze(weight, transposed, format), wide = device.Freeze(values, transposed: true);
        Assert.Equal(format, codes.Format);
        device.Unpack(codes, back, transposed: true);
        Assert.Equal(reference.Values(), back.ToArray());
        float[] expected = Everything(wide, sizes, seed), given = Everything(codes, sizes, seed);
        if (format == WeightFormat.Int8 && device is CpuDevice)
        {
            // The CPU multiplies sums, not values, with what a column's bytes have in common: of at most 1,280 products of magnitude 1.
            for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], given[i], 2e-4f);
            // Not across the columns: the gradient, and rows of a table.
            int first = (2 * sizes.N + 1) * sizes.Columns, count = 2 * sizes.N * rows;
            Assert.Equal(expected[first..(first + count)], given[first..(first + count)]);
        }
        else Assert.Equal(expected, given);
    }

    [Contract(10)]
    public void Matrices_lie_side_by_side_as_they_were_quantized(int seed)
    {
        Random r = new(seed);
        WeightFormat format = r.Next(3) switch { 0 => WeightFormat.Int8, 1 => WeightFormat.Nf4, _ => WeightFormat.Nf4Double };
        int rows = 1 + r.Next(130);
        QuantizedMatrix[] parts = [.. Enumerable.Range(0, 3).Select(_ => 1 + r.Next(40)).Select(columns =>
            QuantizedMatrix.Of(format, OpCheck.Values(r, columns * rows, 1 + r.NextDouble()), columns, rows))];
        float[] values = [.. parts.SelectMany(part => part.Values())];
        int all = values.Length / rows;
        using FrozenMatrix frozen = device.Freeze(parts);
        using Tensor back = device.Empty([all, rows]), straight = device.Empty([rows, all]);
        device.Unpack(frozen, back, transposed: true);
        device.Unpack(frozen, straight);
        Assert.Equal(values, back.ToArray());
        Assert.Equal(Turned(values, all, rows), straight.ToArray());
    }

    [Contract(10)]
    public void A_weight_that_comes_in_pieces_is_the_same(int seed)
    {
        Random r = new(seed);
        Sizes sizes = new(1 + r.Next(20), 1 + r.Next(90), 1 + r.Next(ContractRuns.Sizes(1200)));
        WeightFormat format = (WeightFormat)r.Next(2);
        float[] w = OpCheck.Values(r, sizes.Rows * sizes.Columns, 1);
        using Tensor weight = device.From(w, [sizes.Columns, sizes.Rows]);
        using FrozenRows rows = device.FreezeRows(sizes.Rows, sizes.Columns, format, compact: r.Next(2) == 0);
        for (int at = 0, some; at < w.Length; at += some) rows.Add(w.AsSpan(at, some = Math.Min(w.Length - at, 1 + r.Next(500))));
        using FrozenMatrix pieces = rows.Finish(), whole = device.Freeze(weight, transposed: true, format);
        Assert.Equal(Everything(whole, sizes, seed), Everything(pieces, sizes, seed));
    }

    [Theory]
    [InlineData((WeightFormat)7)]
    [InlineData((WeightFormat)(-1))]
    public void Only_known_formats_are_stored(WeightFormat format)
    {
        using Tensor weight = device.Zeros([2, 2]);
        long before = device.Pool.LiveBytes;
        string message = Assert.Throws<ArgumentException>(() => device.Freeze(weight, format: format)).Message;
        Assert.Contains($"the format is {format}; expected Float32, BFloat16, Int8, Nf4 or Nf4Double", message);
        Assert.Equal(before, device.Pool.LiveBytes);
    }

    [Fact]
    public void Beta_is_zero_or_one()
    {
        using Tensor x = device.Zeros([2, 2]);
        Assert.Contains("expected 0 or 1", Assert.Throws<ArgumentException>(() => device.MatMul(x, false, x, false, x, 1, 0.5f)).Message);
    }

    private readonly record struct Sizes(int N, int Rows, int Columns);

    // All that is made with a frozen weight: products both ways, of many rows and of one, its columns, and a loss.
    private float[] Everything(FrozenMatrix matrix, Sizes sizes, int seed)
    {
        (int n, int rows, int columns) = (sizes.N, sizes.Rows, sizes.Columns);
        Random r = new(seed);
        using Tensor x = Values([n, rows]), dy = Values([n, columns]), bias = Values([columns]), residual = Values([n, columns]);
        using Tensor targets = device.From([.. Enumerable.Range(0, n).Select(_ => r.Next(columns))]);
        using Tensor first = device.From(x.ToArray()[..rows], [1, rows]);
        using Tensor y = device.Empty([n, columns]), one = device.Empty([1, columns]), added = device.Empty([n, columns]);
        using Tensor dx = device.Empty([n, rows]), gathered = device.Empty([n, rows]), again = device.Empty([n, rows]);
        using Tensor losses = device.Empty([n]), head = device.Empty([n, rows]);
        device.GatherRows(matrix, targets, gathered);
        device.MatMul(x, matrix, bias, y);
        device.MatMul(x, matrix, null, added, 0, residual);
        device.MatMul(first, matrix, bias, one);
        // What a row gets does not depend on the others.
        if (device is CpuDevice) Assert.Equal(y.ToArray()[..columns], one.ToArray());
        device.MatMul(first, matrix, null, one, 1);
        device.MatMulTransposed(dy, matrix, dx);
        // Once more with the form that the transposed product may have made.
        device.GatherRows(matrix, targets, again);
        Assert.Equal(gathered.ToArray(), again.ToArray());
        device.HeadCrossEntropy(x, matrix, targets, 0.1f, losses, head, null, 1);
        return
        [
            .. y.ToArray(), .. one.ToArray(), .. added.ToArray(), .. dx.ToArray(),
            .. gathered.ToArray(), .. losses.ToArray(), .. head.ToArray(),
        ];

        Tensor Values(Shape shape) => device.From(OpCheck.Values(r, shape.Length, 1), shape);
    }

    private static float[] Turned(float[] matrix, int rows, int columns)
    {
        float[] turned = new float[matrix.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) turned[j * rows + i] = matrix[i * columns + j];
        return turned;
    }
}
