using Nola.Autograd;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// What every device must do: every operation at random shapes,
/// around vector and tile widths too (see <see cref="OpCheck"/>).
/// </summary>
public abstract class OpsContract(Device device)
{
    private static readonly int[] sizes = [1, 2, 3, 5, 7, 8, 13, 14, 15, 16, 17, 31, 32, 33, 48, 63, 65];

    protected Device Device => device;

    [Contract(30)]
    public void Add_multiply_and_scale(int seed)
    {
        Random r = new(seed);
        Shape shape = [Size(r), Size(r)];
        OpCheck.Run(device, r, [("a", shape, 1), ("b", shape, 1)], (_, x) => 0.5f * (x[0] * x[1]) + x[0],
            x => [.. x[0].Zip(x[1], (a, b) => 0.5 * a * b + a)]);
    }

    [Contract(20)]
    public void Sum_and_mean(int seed)
    {
        Random r = new(seed);
        Shape shape = [Size(r), Size(r)];
        OpCheck.Run(device, r, [("x", shape, 1)], (_, x) => Ops.Sum(x[0]), x => [x[0].Sum()]);
        OpCheck.Run(device, r, [("x", shape, 1)], (_, x) => Ops.Mean(x[0]), x => [x[0].Average()]);
    }

    [Contract(30)]
    public void Gelu(int seed)
    {
        Random r = new(seed);
        OpCheck.Run(device, r, [("x", [Size(r), Size(r)], 6)], (_, x) => Ops.Gelu(x[0]), x => [.. x[0].Select(Reference.Gelu)], 2e-6);
    }

    [Contract(30)]
    public void Gelu_by_the_error_function(int seed)
    {
        Random r = new(seed);
        OpCheck.Run(
            device, r, [("x", [Size(r), Size(r)], 6)], (_, x) => Ops.GeluErf(x[0]), x => [.. x[0].Select(Reference.GeluErf)], 2e-6);
    }

    [Contract(20)]
    public void The_same_rows_before_each_group(int seed)
    {
        Random r = new(seed);
        int groups = 1 + r.Next(4), rows = Size(r), c = Size(r);
        OpCheck.Run(
            device, r, [("x", [groups * rows, c], 1), ("first", [1, 1, c], 1), ("second", [c], 1)],
            (_, x) => Ops.WithPrefix(x[0], groups, x[1], x[2]),
            x => [.. x[0].Chunk(rows * c).SelectMany(own => (double[])[.. x[1], .. x[2], .. own])]);
    }

    [Contract(30)]
    public void Concat_puts_columns_beside_columns(int seed)
    {
        Random r = new(seed);
        int n = Size(r), a = Size(r), b = Size(r);
        OpCheck.Run(
            device, r, [("a", [n, a], 1), ("b", [n, b], 1)], (_, x) => Ops.Concat(x[0], x[1]),
            x => [.. Enumerable.Range(0, n).SelectMany(i => (double[])[.. x[0][(i * a)..((i + 1) * a)], .. x[1][(i * b)..((i + 1) * b)]])]);
    }

    [Contract(30)]
    public void ScaleColumns_multiplies_each_row_by_the_same_numbers(int seed)
    {
        Random r = new(seed);
        int n = Size(r), c = Size(r);
        OpCheck.Run(
            device, r, [("x", [n, c], 1), ("l", [c], 1)], (_, x) => Ops.ScaleColumns(x[0], x[1]),
            x => [.. x[0].Select((value, i) => value * x[1][i % c])]);
    }

    [Contract(40)]
    public void MatMul(int seed)
    {
        Random r = new(seed);
        int m = Size(r), k = Size(r), n = Size(r);
        OpCheck.Run(
            device, r, [("a", [m, k], 1), ("b", [k, n], 1)], (_, x) => Ops.MatMul(x[0], x[1]), x => Reference.MatMul(x[0], x[1], m, k, n));
    }

    [Contract(30)]
    public void Linear_with_bias_and_two_adapters(int seed)
    {
        Random r = new(seed);
        int m = Size(r), k = Size(r), half = Size(r), n = 2 * half, rank = 1 + r.Next(9), layers = 1 + r.Next(3), layer = r.Next(layers);
        (string, Shape, double)[] inputs =
        [
            ("x", [m, k], 1), ("w", [k, n], 1), ("bias", [n], 1),
            ("A1", [layers, k, rank], 1), ("B1", [layers, rank, half], 1), ("A2", [layers, k, rank], 1), ("B2", [layers, rank, half], 1),
        ];
        OpCheck.Run(device, r, inputs,
            (_, x) => Ops.Linear(x[0], x[1], x[2], new LowRank(x[3], x[4], layer, 0.5f, half), new LowRank(x[5], x[6], layer, 2)),
            x => Adapted(x[0], x[1], x[2], x[3..], m, k, half, rank, layer));
    }

    [Contract(30)]
    public void Linear_with_a_frozen_weight(int seed)
    {
        Random r = new(seed);
        int m = Size(r), k = Size(r), half = Size(r), n = 2 * half, rank = 1 + r.Next(9);
        float[] w = OpCheck.Values(r, k * n, 1), bias = OpCheck.Values(r, n, 1);
        using Tensor weight = device.From(w, [k, n]), b = device.From(bias, [n]);
        using FrozenMatrix frozen = device.Freeze(weight);
        (string, Shape, double)[] inputs =
            [("x", [m, k], 1), ("A1", [1, k, rank], 1), ("B1", [1, rank, half], 1), ("A2", [1, k, rank], 1), ("B2", [1, rank, half], 1)];
        OpCheck.Run(device, r, inputs,
            (_, x) => Ops.Linear(x[0], frozen, b, new LowRank(x[1], x[2], 0, 0.5f, half), new LowRank(x[3], x[4], 0, 2)),
            x => Adapted(x[0], OpCheck.Wide(w), OpCheck.Wide(bias), x[1..], m, k, half, rank, 0));
    }

    [Contract(30)]
    public void Linear_with_a_frozen_weight_and_what_follows_it(int seed)
    {
        Random r = new(seed);
        int m = Size(r), k = Size(r), half = Size(r), n = 2 * half, rank = 1 + r.Next(9);
        float[] w = OpCheck.Values(r, k * n, 1), bias = OpCheck.Values(r, n, 1);
        using Tensor weight = device.From(w, [k, n]), b = device.From(bias, [n]);
        using FrozenMatrix frozen = device.Freeze(weight, format: (WeightFormat)r.Next(2)), exact = device.Freeze(weight);
        float[] rounded = w;
        if (frozen.Format == WeightFormat.BFloat16) rounded = [.. w.Select(v => DTypes.FromBFloat16(DTypes.ToBFloat16(v)))];
        double[] Product(double[] x) => Reference.AddRow(Reference.MatMul(x, OpCheck.Wide(rounded), m, k, n), OpCheck.Wide(bias));
        OpCheck.Run(device, r, [("x", [m, k], 1), ("residual", [m, n], 1)],
            (_, x) => Ops.Linear(x[0], frozen, b, x[1]), x => Reference.Add(x[1], Product(x[0])));
        OpCheck.Run(
            device, r, [("x", [m, k], 1)], (_, x) => Ops.LinearGelu(x[0], frozen, b), x => [.. Product(x[0]).Select(Reference.Gelu)]);
        OpCheck.Run(
            device,
            r,
            [
                ("x", [m, k], 1),
                ("A", [1, k, rank], 1),
                ("B", [1, rank, half], 1),
                ("A2", [1, k, rank], 1),
                ("B2", [1, rank, half], 1),
                ("residual", [m, n], 1),
            ],
            (_, x) => Ops.Linear(x[0], exact, b, x[5], new LowRank(x[1], x[2], 0, 0.5f, half), new LowRank(x[3], x[4], 0, 2)),
            x => Reference.Add(x[5], Adapted(x[0], OpCheck.Wide(w), OpCheck.Wide(bias), x[1..5], m, k, half, rank, 0)));
    }

    [Contract(30)]
    public void Linear_with_a_delta_of_its_own_for_each_part_of_the_rows(int seed)
    {
        Random r = new(seed);
        int k = Size(r), n = 1 + Size(r), rank = 1 + r.Next(9), column = r.Next(n), layers = 1 + r.Next(3), layer = r.Next(layers);
        int[] cuts = [0, Size(r), Size(r), Size(r)];
        for (int i = 1; i < cuts.Length; i++) cuts[i] += cuts[i - 1];
        int m = cuts[^1];
        float[] w = OpCheck.Values(r, k * n, 1);
        using Tensor weight = device.From(w, [k, n]);
        using FrozenMatrix frozen = device.Freeze(weight);
        // Rows of the first part have low rank, those of the second nothing, and those of the last a bias and low rank of their own.
        (string, Shape, double)[] inputs =
        [
            ("x", [m, k], 1), ("A1", [layers, k, rank], 1), ("B1", [layers, rank, n - column], 1),
            ("A2", [layers, k, rank], 1), ("B2", [layers, rank, n - column], 1), ("b", [layers, n - column], 1),
        ];
        OpCheck.Run(device, r, inputs,
            (_, v) => Ops.Linear(
                v[0], frozen, null,
                new DeltaRows(new LowRank(v[1], v[2], layer, 0.5f, column), 0, cuts[1]),
                new DeltaRows(new LowRank(v[3], v[4], layer, 2, column), cuts[2], cuts[3] - cuts[2]),
                new DeltaRows(new AddedBias(v[5], layer, column), cuts[2], -1)),
            v =>
            {
                double[] y = Reference.MatMul(v[0], OpCheck.Wide(w), m, k, n);
                (int, int, int, double)[] segments = [(0, cuts[1], 1, 0.5), (cuts[2], m, 3, 2)];
                foreach ((int from, int to, int first, double scale) in segments)
                {
                    double[] a = v[first][(layer * k * rank)..((layer + 1) * k * rank)];
                    double[] b = v[first + 1][(layer * rank * (n - column))..((layer + 1) * rank * (n - column))];
                    double[] low = Reference.MatMul(
                        Reference.MatMul(v[0][(from * k)..(to * k)], a, to - from, k, rank), b, to - from, rank, n - column);
                    for (int i = from; i < to; i++)
                        for (int j = column; j < n; j++)
                            y[i * n + j] += scale * low[(i - from) * (n - column) + j - column]
                                + (first == 3 ? v[5][layer * (n - column) + j - column] : 0);
                }
                return y;
            });
    }

    [Contract(30)]
    public void Linear_with_a_frozen_product_between_trained_diagonals(int seed)
    {
        Random r = new(seed);
        int m = Size(r), k = Size(r), n = 1 + Size(r), rank = 1 + r.Next(9), column = r.Next(n);
        int width = n - column, layers = 1 + r.Next(3), layer = r.Next(layers);
        float[] w = OpCheck.Values(r, k * n, 1), left = OpCheck.Values(r, (k + 2) * rank, 1);
        float[] right = OpCheck.Values(r, rank * (width + 3), 1);
        using Tensor weight = device.From(w, [k, n]), a = device.From(left, [k + 2, rank]), b = device.From(right, [rank, width + 3]);
        using FrozenMatrix frozen = device.Freeze(weight);
        double[] wideA = OpCheck.Wide(left[..(k * rank)]);
        double[] wideB = [.. Enumerable.Range(0, rank * width).Select(i => (double)right[i / width * (width + 3) + i % width])];
        OpCheck.Run(device, r, [("x", [m, k], 1), ("d", [layers, rank], 1), ("b", [layers, width], 1)],
            (_, v) => Ops.Linear(
                v[0], frozen, null,
                new ScaledLowRank(((Matrix)a).SliceRows(0, k), ((Matrix)b).SliceColumns(0, width), v[1], v[2], layer, column)),
            v =>
            {
                double[] y = Reference.MatMul(v[0], OpCheck.Wide(w), m, k, n), u = Reference.MatMul(v[0], wideA, m, k, rank);
                double[] low = Reference.MatMul([.. u.Select((value, i) => value * v[1][layer * rank + i % rank])], wideB, m, rank, width);
                for (int i = 0; i < m; i++)
                    for (int j = 0; j < width; j++)
                        y[i * n + column + j] += low[i * width + j] * v[2][layer * width + j];
                return y;
            });
    }

    [Contract(30)]
    public void Linear_whose_inputs_and_outputs_are_scaled_for_some_rows(int seed)
    {
        Random r = new(seed);
        int k = Size(r), n = 1 + Size(r), column = r.Next(n), width = n - column, layers = 1 + r.Next(3), layer = r.Next(layers);
        int first = Size(r), second = Size(r), m = first + second + r.Next(4);
        float[] w = OpCheck.Values(r, k * n, 1), bias = OpCheck.Values(r, n, 1);
        using Tensor weight = device.From(w, [k, n]), b = device.From(bias, [n]);
        using FrozenMatrix frozen = device.Freeze(weight);
        // Rows of the first part have scaled inputs and outputs, those of the second scaled inputs and an added weight, the last nothing.
        (string, Shape, double)[] inputs =
        [
            ("x", [m, k], 1), ("residual", [m, n], 1), ("in", [layers, k], 1), ("out", [layers, width], 1), ("W", [layers, k, width], 1),
        ];
        OpCheck.Run(device, r, inputs,
            (_, v) => Ops.Linear(
                v[0], frozen, b, v[1],
                new DeltaRows(new Scaling(v[2], layer, ofInputs: true), 0, first + second),
                new DeltaRows(new Scaling(v[3], layer, ofInputs: false, column), 0, first),
                new DeltaRows(new AddedWeight(v[4], layer, column), first, second)),
            v =>
            {
                double[] scaled = [.. v[0].Select((x, i) => i / k < first + second ? x * v[2][layer * k + i % k] : x)];
                double[] y = Reference.AddRow(Reference.MatMul(scaled, OpCheck.Wide(w), m, k, n), OpCheck.Wide(bias));
                double[] own = v[4][(layer * k * width)..((layer + 1) * k * width)];
                double[] added = Reference.MatMul(scaled[(first * k)..((first + second) * k)], own, second, k, width);
                for (int i = 0; i < first + second; i++)
                    for (int j = 0; j < width; j++)
                        y[i * n + column + j] = i < first
                            ? y[i * n + column + j] * v[3][layer * width + j]
                            : y[i * n + column + j] + added[(i - first) * width + j];
                return Reference.Add(y, v[1]);
            });
    }

    [Contract(20)]
    public void A_delta_that_is_added_to_the_weight_gives_the_same(int seed)
    {
        Random r = new(seed);
        int m = Size(r), k = Size(r), n = 1 + Size(r), rank = 1 + r.Next(9), column = r.Next(n), width = n - column;
        using Tensor x = device.From(OpCheck.Values(r, m * k, 1), [m, k]), w = device.From(OpCheck.Values(r, k * n, 1), [k, n]);
        using Tensor bias = device.From(OpCheck.Values(r, n, 1), [n]), a = device.From(OpCheck.Values(r, k * rank, 1), [1, k, rank]);
        using Tensor b = device.From(OpCheck.Values(r, rank * width, 1), [1, rank, width]);
        using Tensor d = device.From(OpCheck.Values(r, rank, 1), [1, rank]);
        using Tensor v = device.From(OpCheck.Values(r, width, 1), [1, width]);
        using Tape tape = new(device, record: false);
        Delta[] deltas =
        [
            new LowRank(tape.Constant(a), tape.Constant(b), 0, 0.5f, column),
            new AddedBias(tape.Constant(v), 0, column),
            new ScaledLowRank(
                new Matrix(a, k, rank, 0, rank), new Matrix(b, rank, width, 0, width), tape.Constant(d), tape.Constant(v), 0, column),
        ];
        float[] apart = Ops.Linear(
            tape.Constant(x), tape.Constant(w), tape.Constant(bias), [.. deltas.Select(delta => (DeltaRows)delta)]).Value.ToArray();
        foreach (Delta delta in deltas) delta.AddTo(device, w, bias);
        float[] merged = Ops.Linear(tape.Constant(x), tape.Constant(w), tape.Constant(bias)).Value.ToArray();
        OpCheck.Close(OpCheck.Wide(apart), merged, 2e-5);
    }

    [Contract(30)]
    public void Linear_with_a_decomposed_weight(int seed)
    {
        Random r = new(seed);
        int before = r.Next(3), m = Size(r), k = Size(r), n = 1 + Size(r), rank = 1 + r.Next(9), column = r.Next(n), width = n - column;
        int layers = 1 + r.Next(3), layer = r.Next(layers), rows = before + m;
        float scale = 0.5f;
        float[] w = OpCheck.Values(r, k * n, 1), norms = [.. OpCheck.Values(r, width, 0.5).Select(value => value + 1)];
        using Tensor weight = device.From(w, [k, n]), gains = device.Empty([3, width]);
        using FrozenMatrix frozen = device.Freeze(weight);
        (string, Shape, double)[] inputs =
        [
            ("x", [rows, k], 1), ("A", [layers, k, rank], 1), ("B", [layers, rank, width], 1), ("m", [layers, width], 1),
        ];
        // The lengths of the columns are constants, whatever they are.
        OpCheck.Run(device, r, inputs, (_, v) => Ops.Linear(v[0], frozen, null, new DeltaRows(Decomposed(v), before, m)), v =>
        {
            double[] y = Reference.MatMul(v[0], OpCheck.Wide(w), rows, k, n);
            double[] a = v[1][(layer * k * rank)..((layer + 1) * k * rank)], b = v[2][(layer * rank * width)..((layer + 1) * rank * width)];
            double[] low = Reference.MatMul(Reference.MatMul(v[0], a, rows, k, rank), b, rows, rank, width);
            for (int i = before; i < rows; i++)
                for (int j = 0; j < width; j++)
                    y[i * n + column + j] = (y[i * n + column + j] + scale * low[i * width + j]) * v[3][layer * width + j] / norms[j];
            return y;
        });

        WeightDecomposed Decomposed(Variable[] v)
        {
            float[] gain = [.. v[3].Value.ToArray()[(layer * width)..((layer + 1) * width)].Zip(norms, (length, norm) => length / norm)];
            device.Upload([.. gain, .. gain.Select(g => g - 1), .. norms.Select(norm => 1 / norm)], gains);
            return new(frozen, v[1], v[2], v[3], gains, layer, scale, column);
        }
    }

    [Contract(20)]
    public void A_row_gets_the_same_bits_alone_and_beside_rows_of_other_deltas(int seed)
    {
        Random r = new(seed);
        int k = Size(r), n = Size(r), rank = 1 + r.Next(9), parts = 2 + r.Next(4);
        float[] w = OpCheck.Values(r, k * n, 1);
        using Tensor weight = device.From(w, [k, n]);
        using FrozenMatrix frozen = device.Freeze(weight);
        int[] rows = [.. Enumerable.Range(0, parts).Select(_ => Size(r))];
        float[][] xs = [.. rows.Select(m => OpCheck.Values(r, m * k, 1))], dys = [.. rows.Select(m => OpCheck.Values(r, m * n, 1))];
        List<Parameter> factors = [];
        for (int i = 0; i < parts; i++)
        {
            factors.Add(new Parameter($"A{i}", device.From(OpCheck.Values(r, k * rank, 1), [1, k, rank])));
            factors.Add(new Parameter($"B{i}", device.From(OpCheck.Values(r, rank * n, 1), [1, rank, n])));
        }
        float[][] together = Run([.. Enumerable.Range(0, parts)]);
        int at = 0;
        for (int i = 0; i < parts; at += rows[i], i++)
        {
            float[][] alone = Run([i]);
            Assert.Equal(alone[0], together[0][(at * n)..((at + rows[i]) * n)]);
            Assert.Equal(alone[1], together[1][(at * k)..((at + rows[i]) * k)]);
            Assert.Equal(alone[2], together[2 + 2 * i]);
            Assert.Equal(alone[3], together[3 + 2 * i]);
        }
        foreach (Parameter factor in factors) factor.Dispose();

        // y, dx, and dA and dB of each part.
        float[][] Run(int[] which)
        {
            int m = which.Sum(i => rows[i]);
            using Tensor dy = device.From([.. which.SelectMany(i => dys[i])], [m, n]);
            using Parameter x = new("x", device.From([.. which.SelectMany(i => xs[i])], [m, k]));
            using Tape tape = new(device);
            List<DeltaRows> deltas = [];
            int first = 0;
            foreach (int i in which)
            {
                deltas.Add(new DeltaRows(new LowRank(tape.Read(factors[2 * i]), tape.Read(factors[2 * i + 1]), 0, 0.7f), first, rows[i]));
                first += rows[i];
            }
            Variable y = Ops.Linear(tape.Read(x), frozen, null, [.. deltas]);
            float[] value = y.Value.ToArray();
            foreach (Parameter factor in factors) factor.ClearGradient();
            tape.Backward((y, dy));
            return
            [
                value,
                x.Gradient.ToArray(),
                .. which.SelectMany(i => (float[][])[factors[2 * i].Gradient.ToArray(), factors[2 * i + 1].Gradient.ToArray()]),
            ];
        }
    }

    [Contract(30)]
    public void LayerNorm(int seed)
    {
        Random r = new(seed);
        int n = Size(r), c = 2 + Size(r);
        OpCheck.Run(device, r, [("x", [n, c], 2), ("weight", [c], 1), ("bias", [c], 1)],
            (_, x) => Ops.LayerNorm(x[0], x[1], x[2], 1e-2f), x => Reference.LayerNorm(x[0], x[1], x[2], 1e-2f), 5e-5);
    }

    [Contract(25)]
    public void Attention_over_sequences_of_any_length(int seed)
    {
        Random r = new(seed);
        int heads = 1 + r.Next(3), c = heads * (1 + r.Next(40)), sequences = 1 + r.Next(4);
        AttentionLayout layout = AttentionLayout.Of(c, heads);
        int[] starts = new int[sequences + 1];
        // Empty sequences, and one longer than a block of queries, now and then.
        for (int s = 0; s < sequences; s++)
            starts[s + 1] = starts[s] + (r.Next(6) == 0 ? 0 : r.Next(8) == 0 ? 57 + r.Next(40) : 1 + r.Next(12));
        if (starts[^1] == 0) starts[^1] = 1;
        using Tensor onDevice = device.From(starts);
        OpCheck.Run(device, r, [("qkv", [starts[^1], 3 * c], 2)],
            (_, x) => Ops.Attention(x[0], onDevice, layout), x => Reference.Attention(x[0], starts, layout), 5e-5);
    }

    [Contract(25)]
    public void GatherRows_with_repeated_indices(int seed)
    {
        Random r = new(seed);
        int v = Size(r), c = Size(r);
        int[] indices = [.. Enumerable.Range(0, Size(r)).Select(_ => r.Next(v))];
        using Tensor onDevice = device.From(indices);
        OpCheck.Run(
            device, r, [("table", [v, c], 1)], (_, x) => Ops.GatherRows(x[0], onDevice), x => Reference.GatherRows(x[0], indices, c));
    }

    [Contract(25)]
    public void Looked_up_rows_with_a_delta_of_its_own_for_each_part_of_them(int seed)
    {
        Random r = new(seed);
        int v = Size(r), c = 1 + Size(r), rank = 1 + r.Next(9), column = r.Next(c), width = c - column;
        int[] cuts = [0, Size(r), Size(r), Size(r)];
        for (int i = 1; i < cuts.Length; i++) cuts[i] += cuts[i - 1];
        int n = cuts[^1];
        int[] ids = TinyModels.Ids(r, n, v);
        float[] values = OpCheck.Values(r, v * c, 1);
        using Tensor onDevice = device.From(ids), rows = device.From(values, [v, c]);
        using FrozenMatrix frozen = device.Freeze(rows, transposed: true);
        // The second part has nothing.
        (string, Shape, double)[] factors =
        [
            ("A1", [1, v, rank], 1), ("B1", [1, rank, c], 1), ("A2", [1, v, rank], 1), ("B2", [1, rank, width], 1),
        ];
        DeltaRows[] Deltas(Variable[] x) =>
        [
            new DeltaRows(new LowRank(x[0], x[1], 0, 0.5f), 0, cuts[1]),
            new DeltaRows(new LowRank(x[2], x[3], 0, 2, column), cuts[2], -1),
        ];
        double[] Wanted(double[] table, double[][] x)
        {
            double[] y = Reference.GatherRows(table, ids, c);
            double[] first = Reference.MatMul(x[0], x[1], v, rank, c), last = Reference.MatMul(x[2], x[3], v, rank, width);
            for (int i = 0; i < n; i++)
                for (int j = 0; j < c; j++)
                    y[i * c + j] += i < cuts[1] ? 0.5 * first[ids[i] * c + j]
                        : i >= cuts[2] && j >= column ? 2 * last[ids[i] * width + j - column]
                        : 0;
            return y;
        }
        OpCheck.Run(
            device, r, factors, (tape, x) => Ops.Lookup(tape, frozen, onDevice, Deltas(x)), x => Wanted(OpCheck.Wide(values), x));
        OpCheck.Run(
            device, r, [("table", [v, c], 1), .. factors], (_, x) => Ops.Lookup(x[0], onDevice, Deltas(x[1..])), x => Wanted(x[0], x[1..]));
    }

    [Contract(25)]
    public void CrossEntropy(int seed)
    {
        Random r = new(seed);
        int p = Size(r), v = 1 + Size(r);
        float smoothing = r.Next(2) * 0.1f;
        int[] targets = [.. Enumerable.Range(0, p).Select(_ => r.Next(v))];
        using Tensor onDevice = device.From(targets);
        OpCheck.Run(device, r, [("logits", [p, v], 4)],
            (_, x) => Ops.CrossEntropy(x[0], onDevice, smoothing), x => Reference.CrossEntropy(x[0], targets, v, smoothing));
    }

    [Contract(25)]
    public void Head_and_cross_entropy_in_one(int seed)
    {
        Random r = new(seed);
        int p = Size(r), v = 1 + Size(r), c = Size(r);
        float smoothing = r.Next(2) * 0.1f;
        int[] targets = [.. Enumerable.Range(0, p).Select(_ => r.Next(v))];
        using Tensor onDevice = device.From(targets);
        float[] table = OpCheck.Values(r, v * c, 1);
        using Tensor rows = device.From(table, [v, c]);
        using FrozenMatrix head = device.Freeze(rows, transposed: true);
        double[] Loss(double[] x, double[] w) =>
            [0.7 * Reference.CrossEntropy(Reference.MatMul(x, Reference.Transpose(w, v, c), p, c, v), targets, v, smoothing).Sum()];
        OpCheck.Run(
            device, r, [("x", [p, c], 1)], (_, x) => Ops.HeadCrossEntropy(x[0], head, onDevice, smoothing, 0.7f),
            x => Loss(x[0], OpCheck.Wide(table)));
        OpCheck.Run(device, r, [("x", [p, c], 1), ("table", [v, c], 1)],
            (_, x) => Ops.HeadCrossEntropy(x[0], x[1], onDevice, smoothing, 0.7f), x => Loss(x[0], x[1]));
    }

    [Contract(25)]
    public void Head_and_cross_entropy_with_a_delta_of_its_own_for_each_part_of_the_rows(int seed)
    {
        Random r = new(seed);
        int v = 1 + Size(r), c = Size(r), rank = 1 + r.Next(9), column = r.Next(v), width = v - column;
        int[] cuts = [0, Size(r), Size(r), Size(r)];
        for (int i = 1; i < cuts.Length; i++) cuts[i] += cuts[i - 1];
        int p = cuts[^1];
        float smoothing = r.Next(2) * 0.1f;
        int[] targets = TinyModels.Ids(r, p, v);
        float[] table = OpCheck.Values(r, v * c, 1);
        using Tensor onDevice = device.From(targets), rows = device.From(table, [v, c]);
        using FrozenMatrix head = device.Freeze(rows, transposed: true);
        (string, Shape, double)[] inputs =
        [
            ("x", [p, c], 1), ("A1", [1, c, rank], 1), ("B1", [1, rank, v], 1), ("A2", [1, c, rank], 1), ("B2", [1, rank, width], 1),
        ];
        // The second part has nothing.
        DeltaRows[] Deltas(Variable[] x) =>
        [
            new DeltaRows(new LowRank(x[1], x[2], 0, 0.5f), 0, cuts[1]),
            new DeltaRows(new LowRank(x[3], x[4], 0, 2, column), cuts[2], -1),
        ];
        double[] Wanted(double[][] x, double[] w)
        {
            double[] logits = Reference.MatMul(x[0], Reference.Transpose(w, v, c), p, c, v);
            double[] first = Reference.MatMul(Reference.MatMul(x[0], x[1], p, c, rank), x[2], p, rank, v);
            double[] last = Reference.MatMul(Reference.MatMul(x[0], x[3], p, c, rank), x[4], p, rank, width);
            for (int i = 0; i < p; i++)
                for (int j = 0; j < v; j++)
                    logits[i * v + j] += i < cuts[1] ? 0.5 * first[i * v + j]
                        : i >= cuts[2] && j >= column ? 2 * last[i * width + j - column]
                        : 0;
            return [0.7 * Reference.CrossEntropy(logits, targets, v, smoothing).Sum()];
        }
        OpCheck.Run(
            device, r, inputs, (_, x) => Ops.HeadCrossEntropy(x[0], head, onDevice, smoothing, 0.7f, null, Deltas(x)),
            x => Wanted(x, OpCheck.Wide(table)));
        OpCheck.Run(
            device, r, [.. inputs, ("table", [v, c], 1)],
            (_, x) => Ops.HeadCrossEntropy(x[0], x[5], onDevice, smoothing, 0.7f, null, Deltas(x)), x => Wanted(x, x[5]));
    }

    [Contract(25)]
    public void BasisMix(int seed)
    {
        Random r = new(seed);
        int layers = 1 + r.Next(5), k = 1 + r.Next(70);
        RandomBasis basis = new((ulong)r.NextInt64(), 255, 0, k, Size(r), Size(r), (BasisEntries)r.Next(3));
        float[] start = OpCheck.Values(r, layers * basis.Size, 1);
        using Tensor offset = device.From(start, [layers, basis.Rows, basis.Cols]);
        OpCheck.Run(device, r, [("coefficients", [layers, k], 1)],
            (_, x) => Ops.BasisMix(x[0], basis, 0.3f, offset),
            x => Reference.Add(OpCheck.Wide(start), Reference.BasisMix(x[0], layers, basis, 0.3)));
        int[] own = [.. Enumerable.Range(0, layers).Select(l => 3 * l + 1)];
        OpCheck.Run(device, r, [("coefficients", [layers, k], 1)],
            (_, x) => Ops.BasisMix(x[0], basis, 0.3f, null, own), x => Reference.BasisMix(x[0], layers, basis, 0.3, own));
    }

    [Contract(15)]
    public void A_whole_NOLA_layer(int seed)
    {
        Random r = new(seed);
        int n = Size(r), c = 8 + r.Next(30), o = 8 + r.Next(30), rank = 1 + r.Next(6), k = 2 + r.Next(20);
        RandomBasis a = new(7, RandomBasis.StreamOf(0, 0), 0, k, c, rank, BasisEntries.Uniform);
        RandomBasis b = new(7, RandomBasis.StreamOf(0, 1), 0, k, rank, o, BasisEntries.Uniform);
        float[] w = OpCheck.Values(r, c * o, 1), start = OpCheck.Values(r, c * rank, 1);
        using Tensor weight = device.From(w, [c, o]), offset = device.From(start, [1, c, rank]);
        using FrozenMatrix frozen = device.Freeze(weight);
        OpCheck.Run(device, r, [("x", [n, c], 1), ("alpha", [1, k], 1), ("beta", [1, k], 1)],
            (_, v) => Ops.Gelu(
                Ops.Linear(v[0], frozen, null, new LowRank(Ops.BasisMix(v[1], a, 0.2f, offset), Ops.BasisMix(v[2], b, 0.2f), 0, 2))),
            v =>
            {
                double[] left = Reference.Add(OpCheck.Wide(start), Reference.BasisMix(v[1], 1, a, 0.2));
                double[] right = Reference.BasisMix(v[2], 1, b, 0.2);
                double[] low = Reference.MatMul(Reference.MatMul(v[0], left, n, c, rank), right, n, rank, o);
                double[] y = Reference.MatMul(v[0], OpCheck.Wide(w), n, c, o);
                return [.. y.Zip(low, (p, q) => Reference.Gelu(p + 2 * q))];
            }, 5e-5);
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_named()
    {
        using Tape tape = new(device);
        using Tensor a = device.Zeros([6, 10]), b = device.Zeros([6, 10]), c = device.Zeros([3]);
        Variable x = tape.Constant(a), w = tape.Constant(b), v = tape.Constant(c);
        Assert.Contains("a is (6, 10) and b (6, 10)", Assert.Throws<ShapeException>(() => Ops.MatMul(x, w)).Message);
        Assert.Contains("expected the same shape", Assert.Throws<ShapeException>(() => Ops.Add(x, v)).Message);
        Assert.Contains("expected the same shape", Assert.Throws<ShapeException>(() => Ops.Multiply(x, v)).Message);
        Assert.Contains("expected (N, C), (C), (C)", Assert.Throws<ShapeException>(() => Ops.LayerNorm(x, v, v)).Message);
        Assert.Contains(
            "(N, (H + 2G) · D)", Assert.Throws<ShapeException>(() => Ops.Attention(x, device.From([0, 6]), new(4, 4, 1))).Message);
        Assert.Contains("expected one element", Assert.Throws<ShapeException>(() => tape.Backward(x)).Message);
        RandomBasis basis = new(1, 255, 0, 4, 2, 2, BasisEntries.Uniform);
        Assert.Contains("(L, k)", Assert.Throws<ShapeException>(() => Ops.BasisMix(x, basis, 1)).Message);
    }

    private static int Size(Random r) => sizes[r.Next(ContractRuns.Sizes(sizes.Length))];

    // x·w + bias, then adapter 1 on the second half of the columns with scale ½ and adapter 2 on the first with scale 2.
    private static double[] Adapted(double[] x, double[] w, double[] bias, double[][] factors, int m, int k, int half, int rank, int layer)
    {
        int n = 2 * half;
        double[] y = Reference.AddRow(Reference.MatMul(x, w, m, k, n), bias);
        foreach ((int which, double scale, int column) in ((int, double, int)[])[(0, 0.5, half), (2, 2, 0)])
        {
            double[] a = factors[which][(layer * k * rank)..((layer + 1) * k * rank)];
            double[] b = factors[which + 1][(layer * rank * half)..((layer + 1) * rank * half)];
            double[] low = Reference.MatMul(Reference.MatMul(x, a, m, k, rank), b, m, rank, half);
            for (int i = 0; i < m; i++)
                for (int j = 0; j < half; j++)
                    y[i * n + column + j] += scale * low[i * half + j];
        }
        return y;
    }
}
