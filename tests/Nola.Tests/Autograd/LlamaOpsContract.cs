using Nola.Autograd;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// The operations that the LLaMA family adds, on every device: value, gradient, overwriting and adding (see
/// <see cref="OpCheck"/>), and in windows of larger tensors.
/// </summary>
public abstract class LlamaOpsContract(Device device)
{
    private static readonly int[] sizes = [1, 2, 3, 4, 7, 8, 12, 15, 16, 17, 31, 32, 33, 48, 63, 65, 68];

    protected Device Device => device;

    [Contract(40)]
    public void RmsNorm(int seed)
    {
        Random r = new(seed);
        int n = Size(r), c = Size(r);
        OpCheck.Run(device, r, [("x", [n, c], 2), ("weight", [c], 1)],
            (_, x) => Ops.RmsNorm(x[0], x[1], 1e-2f), x => Reference.RmsNorm(x[0], x[1], 1e-2f), 5e-5);
    }

    [Contract(40)]
    public void RmsNorm_of_every_head_of_queries_and_keys(int seed)
    {
        Random r = new(seed);
        AttentionLayout layout = Layout(r, Size(r));
        OpCheck.Run(device, r, [("qkv", [Size(r), layout.Width], 2), ("query", [layout.HeadSize], 1), ("key", [layout.HeadSize], 1)],
            (_, x) => Ops.RmsNormHeads(x[0], x[1], x[2], layout, 1e-2f),
            x => Reference.RmsNormHeads(x[0], x[1], x[2], layout, 1e-2f), 5e-5);
    }

    [Contract(30)]
    public void RmsNorm_of_a_window_is_that_of_a_copy_and_touches_nothing_else(int seed)
    {
        Random r = new(seed);
        int n = Size(r), c = Size(r), heads = 1 + r.Next(3), width = heads * c;
        float[] start = OpCheck.Values(r, c, 1);
        using Tensor weight = device.From(OpCheck.Values(r, c, 1), [c]);
        using Window x = new(device, r, n, width), y = new(device, r, n, width);
        using Window dy = new(device, r, n, width), dx = new(device, r, n, width);
        using Tensor rstd = device.Empty([n, heads]);
        float[][] windows = Run(x.Inside, y.Inside, dy.Inside, dx.Inside), copies = Run(x.Copy, y.Copy, dy.Copy, dx.Copy);
        for (int i = 0; i < copies.Length; i++) Same(copies[i], windows[i]);
        Same(y.Copy.ToArray(), y.Read());
        Same(dx.Copy.ToArray(), dx.Read());
        // In place, as in a row of queries, keys and values.
        device.RmsNormGrad(x.Inside, weight, rstd, dy.Inside, dy.Inside);
        device.RmsNormGrad(x.Copy, weight, rstd, dy.Copy, dx.Copy);
        Same(dx.Copy.ToArray(), dy.Read());
        device.RmsNorm(x.Inside, weight, 1e-2f, x.Inside, rstd);
        Same(y.Copy.ToArray(), x.Read());

        float[][] Run(Matrix x, Matrix y, Matrix dy, Matrix dx)
        {
            using Tensor sum = device.From(start, [c]);
            device.RmsNorm(x, weight, 1e-2f, y, rstd);
            device.RmsNormGrad(x, weight, rstd, dy, dx, 1);
            device.RmsNormWeightGrad(x, rstd, dy, sum, 1);
            return [rstd.ToArray(), sum.ToArray()];
        }
    }

    [Fact]
    public void RmsNorm_of_known_numbers()
    {
        // Squares of 3 and 4 have the mean 12.5; of two zeros epsilon alone is left.
        using Tensor x = device.From([3, 4, 0, 0], [2, 2]), weight = device.From([10, 1], [2]);
        using Tensor y = device.Empty([2, 2]), rstd = device.Empty([2, 1]);
        device.RmsNorm(x, weight, 0.25f, y, rstd);
        OpCheck.Close([30 / Math.Sqrt(12.75), 4 / Math.Sqrt(12.75), 0, 0], y.ToArray(), 1e-6);
        OpCheck.Close([1 / Math.Sqrt(12.75), 2], rstd.ToArray(), 1e-6);
    }

    [Contract(40)]
    public void Rotary_at_any_position(int seed)
    {
        Random r = new(seed);
        AttentionLayout layout = Layout(r, 2 * Size(r));
        RotaryFrequencies frequencies = new(RotaryFrequencies.Default(10_000, layout.HeadSize).Inverse, r.Next(2) == 0 ? 1 : 1.25);
        int longest = ((int[])[1, 256, 257, 3_000, 131_072])[r.Next(5)];
        int[] positions = [.. Enumerable.Range(0, Size(r)).Select(_ => r.Next(longest))];
        positions[r.Next(positions.Length)] = longest - 1;
        using Tensor onDevice = device.From(positions), angles = frequencies.Angles(device, longest);
        // Angles are computed in double precision, so a far position is as exact as a near one.
        OpCheck.Run(device, r, [("qkv", [positions.Length, layout.Width], 2)],
            (_, x) => Ops.Rotary(x[0], onDevice, angles, layout), x => Reference.Rotary(x[0], positions, frequencies, layout), 1e-6);
    }

    [Contract(30)]
    public void Rotary_of_a_window_is_that_of_a_copy_in_place_too_and_back_again(int seed)
    {
        Random r = new(seed);
        AttentionLayout layout = Layout(r, 2 * Size(r));
        int n = Size(r);
        using Window x = new(device, r, n, layout.Width), y = new(device, r, n, layout.Width);
        using Tensor positions = device.From([.. Enumerable.Range(0, n).Select(_ => r.Next(600))]);
        using Tensor angles = RotaryFrequencies.Default(500, layout.HeadSize).Angles(device, 600);
        float[] start = x.Read();
        device.Rotary(x.Copy, positions, angles, layout, y.Copy);
        device.Rotary(x.Inside, positions, angles, layout, y.Inside);
        float[] turned = y.Read();
        Assert.Equal(y.Copy.ToArray(), turned);
        device.Rotary(x.Inside, positions, angles, layout, x.Inside);
        Assert.Equal(turned, x.Read());
        device.RotaryGrad(x.Inside, positions, angles, layout, x.Inside);
        OpCheck.Close(OpCheck.Wide(start), x.Read(), 1e-6);
    }

    [Fact]
    public void Rotary_turns_column_j_towards_column_j_and_a_half()
    {
        // A quarter and a twelfth of a turn for each position; a query and a key of one head of four columns, and a value.
        RotaryFrequencies frequencies = new([Math.PI / 2, Math.PI / 6]);
        AttentionLayout layout = new(1, 1, 4);
        using Tensor x = device.From([1, 0, 0, 1, 0, 2, 3, 0, 5, 6, 7, 8, 1, 1, 0, 0, 0, 0, 1, 1, 5, 6, 7, 8], [2, 12]);
        using Tensor positions = device.From([1, 3]), angles = frequencies.Angles(device, 4), y = device.Empty([2, 12]);
        device.Rotary(x, positions, angles, layout, y);
        double half = Math.Sqrt(0.75);
        double[] first = [0, -0.5, 1, half, -3, 2 * half, 0, 1, 5, 6, 7, 8], second = [0, 0, -1, 1, 1, -1, 0, 0, 5, 6, 7, 8];
        OpCheck.Close([.. first, .. second], y.ToArray(), 1e-6);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(512)]
    public void A_position_beyond_the_table_is_named(int position)
    {
        AttentionLayout layout = new(1, 1, 4);
        using Tensor x = device.Zeros([2, 12]), positions = device.From([3, position]);
        using Tensor angles = RotaryFrequencies.Default(10_000, 4).Angles(device, 300);
        ArgumentOutOfRangeException error = Assert.Throws<ArgumentOutOfRangeException>(() =>
        {
            device.Rotary(x, positions, angles, layout, x);
            x.ToArray();
        });
        Assert.Contains($"Row index {position} is outside the table of 512 rows", error.Message);
    }

    [Contract(30)]
    public void SiluMultiply_of_the_halves_of_a_row(int seed)
    {
        Random r = new(seed);
        int n = Size(r), half = Size(r);
        OpCheck.Run(device, r, [("gateUp", [n, 2 * half], 6)],
            (_, x) => Ops.SiluMultiply(x[0]), x => Reference.SiluMultiply(x[0], half), 2e-6);
    }

    [Contract(30)]
    public void SiluMultiply_of_windows_is_that_of_copies_and_adds_where_it_is_told_to(int seed)
    {
        Random r = new(seed);
        int n = Size(r), c = Size(r);
        using Window a = new(device, r, n, c), b = new(device, r, n, c), y = new(device, r, n, c);
        using Window da = new(device, r, n, c), db = new(device, r, n, c);
        device.SiluMultiply(a.Copy, b.Copy, y.Copy);
        device.SiluMultiply(a.Inside, b.Inside, y.Inside);
        Assert.Equal(y.Copy.ToArray(), y.Read());
        device.SiluMultiplyGrad(a.Copy, b.Copy, y.Copy, da.Copy, db.Copy, 1);
        device.SiluMultiplyGrad(a.Inside, b.Inside, y.Inside, da.Inside, db.Inside, 1);
        Assert.Equal(da.Copy.ToArray(), da.Read());
        Assert.Equal(db.Copy.ToArray(), db.Read());
        // In place, the gradients over what they are of.
        device.SiluMultiplyGrad(a.Copy, b.Copy, y.Copy, da.Copy, db.Copy);
        device.SiluMultiplyGrad(a.Inside, b.Inside, y.Inside, a.Inside, b.Inside);
        Assert.Equal(da.Copy.ToArray(), a.Read());
        Assert.Equal(db.Copy.ToArray(), b.Read());
    }

    [Fact]
    public void SiluMultiply_of_numbers_of_any_size()
    {
        float[] gates = [0, 1, -1, 20, -20, 1000, -1000, 1e30f, -1e30f];
        using Tensor a = device.From(gates, [gates.Length]), b = device.Empty([gates.Length]), y = device.Empty([gates.Length]);
        using Tensor da = device.Empty([gates.Length]), db = device.Empty([gates.Length]);
        device.Fill(b, 1);
        device.SiluMultiply(a, b, y);
        device.SiluMultiplyGrad(a, b, b, da, db);
        double[] sigmoid = [0.5, 0.7310585786, 0.2689414214, 1, 2.0611536e-9, 1, 0, 1, 0];
        double[] slope = [0.5, 0.9276705119, 0.0723294881, 1.0000000392, -3.9161918e-8, 1, 0, 1, 0];
        (float[] values, float[] slopes) = (y.ToArray(), da.ToArray());
        Assert.Equal(values, db.ToArray());
        for (int i = 0; i < gates.Length; i++)
        {
            // The CPU cuts the exponential off at e⁸⁸, so that of −10³⁰ some 10⁻⁸ is left.
            Assert.Equal(sigmoid[i] * gates[i], values[i], 1e-6 * (1 + sigmoid[i] * Math.Abs(gates[i])));
            Assert.Equal(slope[i], slopes[i], 1e-6);
        }
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_named()
    {
        using Tape tape = new(device);
        using Tensor a = device.Zeros([6, 10]), three = device.Zeros([3]), five = device.Zeros([5]);
        using Tensor six = device.Zeros([6]), ten = device.Zeros([10]);
        Variable x = tape.Constant(a), v = tape.Constant(five);
        Assert.Contains("x is (6, 10) and weight (5)", Assert.Throws<ShapeException>(() => Ops.RmsNorm(x, v)).Message);
        Assert.Contains("weight (3)", Assert.Throws<ShapeException>(() => device.RmsNorm(a, three, 1, a, six)).Message);
        Assert.Contains("expected (N, H · C) twice", Assert.Throws<ShapeException>(() => device.RmsNormGrad(a, five, six, a, a)).Message);
        Assert.Contains("for 2 query heads and 1", Assert.Throws<ShapeException>(() => Ops.RmsNormHeads(x, v, v, new(2, 1, 5))).Message);
        Assert.Contains("beta is 2", Assert.Throws<ArgumentException>(() => device.RmsNormGrad(a, ten, six, a, a, 2)).Message);
        Assert.Contains("positions (6), angles (6, 10)", Assert.Throws<ShapeException>(() => Ops.Rotary(x, six, a, new(2, 1, 3))).Message);
        Assert.Contains("D even", Assert.Throws<ShapeException>(() => device.RotaryGrad(a, six, a, new(1, 1, 5), a)).Message);
        Assert.Contains("expected (…, 2I)", Assert.Throws<ShapeException>(() => Ops.SiluMultiply(v)).Message);
        Assert.Contains("expected the same size", Assert.Throws<ShapeException>(() => device.SiluMultiplyGrad(a, a, a, a, five)).Message);
        Assert.Contains("matrices (6, 10), (1, 3) and (1, 3)", Assert.Throws<ShapeException>(() => device.CopyColumns(a, three)).Message);
    }

    // Sums have another order where rows do not begin at whole multiples of four elements.
    private static void Same(float[] copy, float[] window) => OpCheck.Close(OpCheck.Wide(copy), window, 5e-6);

    private static int Size(Random r) => sizes[r.Next(ContractRuns.Sizes(sizes.Length))];

    private static AttentionLayout Layout(Random r, int headSize)
    {
        int keyValueHeads = 1 + r.Next(2);
        return new(keyValueHeads * (1 + r.Next(2)), keyValueHeads, headSize);
    }

    /// <summary>The same numbers in a tensor of their own and inside a larger one that is NaN around them.</summary>
    private sealed class Window : IDisposable
    {
        private readonly int before, after;
        private readonly Tensor around;

        public Window(Device device, Random r, int rows, int columns)
        {
            // Now at whole multiples of four elements, now not.
            int unit = r.Next(2) == 0 ? 4 : 1;
            (before, after) = (unit * r.Next(4), unit * r.Next(4));
            float[] values = OpCheck.Values(r, rows * columns, 2), wide = new float[rows * (before + columns + after)];
            Array.Fill(wide, float.NaN);
            for (int i = 0; i < rows; i++) values.AsSpan(i * columns, columns).CopyTo(wide.AsSpan(i * (before + columns + after) + before));
            Copy = device.From(values, [rows, columns]);
            around = device.From(wide, [rows, before + columns + after]);
            Inside = ((Matrix)around).SliceColumns(before, columns);
        }

        public Tensor Copy { get; }

        public Matrix Inside { get; }

        /// <summary>What is inside, after a check that around it is NaN still.</summary>
        public float[] Read()
        {
            float[] wide = around.ToArray();
            List<float> inside = [];
            for (int i = 0; i < wide.Length; i++)
            {
                int column = i % Inside.Stride - before;
                if (column >= 0 && column < Inside.Columns) inside.Add(wide[i]);
                else Assert.True(float.IsNaN(wide[i]), $"element {i} beside the window was written");
            }
            return [.. inside];
        }

        public void Dispose()
        {
            Copy.Dispose();
            around.Dispose();
        }
    }
}
