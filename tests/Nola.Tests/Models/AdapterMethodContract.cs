using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// What every device must do with methods whose deltas are made of what they train: at random shapes the output of an adapted map, and
/// the gradients of the input and of all that is trained, against the published formula in double precision and its differences.
/// </summary>
public abstract class AdapterMethodContract(Device device)
{
    private const double H = 1e-5, Tolerance = 3e-5;

    private static readonly int[] widths = [3, 6, 9, 12, 24, 33];

    protected Device Device => device;

    // Of the map: its place in its kind, and what is added to y = x · W + b, which the formula reads.
    private delegate double[] Formula(double[][] parameters, double[] x, double[] y);

    [Contract(25)]
    public void FourierFT(int seed)
    {
        Random r = new(seed);
        Case at = new(device, r, widths);
        FourierFtOptions options = new()
        {
            Frequencies = 1 + r.Next(Math.Min(40, at.In * at.Out)),
            Scaling = 1 + r.Next(300),
            Seed = (ulong)r.Next(1000),
            Targets = [at.Target],
        };
        (int U, int V)[] places = FourierFtMethod.Places(options.Seed, at.In, at.Out, options.Frequencies);
        Check(at, r, options, (parameters, x, y) => at.Add(x, y, (i, o) =>
            options.Scaling / (double)(at.In * at.Out) * places.Select((place, j) => parameters[0][at.Row * places.Length + j]
                * Math.Cos(2 * Math.PI * ((double)place.U * o / at.Out + (double)place.V * i / at.In))).Sum()));
    }

    [Contract(25)]
    public void IA3(int seed)
    {
        Random r = new(seed);
        Case at = new(device, r, widths);
        bool ofInputs = !at.IsPart && r.Next(2) == 0;
        Check(at, r, new Ia3Options { Targets = [at.Target], FeedForward = ofInputs ? [at.Target] : [] }, (parameters, x, _) =>
        {
            double[] y = at.Base(ofInputs ? [.. x.Select((value, i) => value * parameters[0][at.Row * at.In + i % at.In])] : x);
            for (int i = 0; i < y.Length && !ofInputs; i++)
                if (i % at.Host >= at.Column && i % at.Host < at.Column + at.Out)
                    y[i] *= parameters[0][at.Row * at.Out + i % at.Host - at.Column];
            return y;
        });
    }

    [Contract(25)]
    public void VB_LoRA(int seed)
    {
        Random r = new(seed);
        Case at = new(device, r, widths);
        int vectors = 1 + r.Next(9), length = Enumerable.Range(1, at.Width).Where(b => at.Width % b == 0).OrderBy(_ => r.Next()).First();
        int k = 1 + r.Next(vectors), rank = 1 + r.Next(Math.Min(4, Math.Max(at.In, at.Out)));
        int partsA = at.In / length, partsB = at.Out / length;
        VbLoraOptions options = new() { Rank = rank, Vectors = vectors, VectorLength = length, TopK = k, Targets = [at.Target] };
        Check(at, r, options, (parameters, x, y) =>
        {
            double[] a = Mixed(parameters[1], partsA), b = Mixed(parameters[2], partsB);
            return at.Add(x, y, (i, o) => Enumerable.Range(0, rank).Sum(j => a[j * at.In + i] * b[j * at.Out + o]));

            // (r, parts · b), of logits (L, r, parts, h)
            double[] Mixed(double[] logits, int parts) => [.. Enumerable.Range(0, rank * parts).SelectMany(part =>
            {
                double[] own = logits[((at.Row * rank * parts + part) * vectors)..][..vectors];
                int[] best = [.. Enumerable.Range(0, vectors).OrderByDescending(v => own[v]).Take(k)];
                double sum = best.Sum(v => Math.Exp(own[v]));
                return Enumerable.Range(0, length).Select(t => best.Sum(v => Math.Exp(own[v]) / sum * parameters[0][v * length + t]));
            })];
        });
    }

    [Contract(25)]
    public void RandLoRA(int seed)
    {
        Random r = new(seed);
        Case at = new(device, r, widths);
        int side = Math.Min(at.In, at.Out), rank = 1 + r.Next(Math.Min(side, 7)), bases = (side + rank - 1) / rank;
        RandLoraOptions options = new() { Rank = rank, Alpha = 0.5f + r.Next(4), Seed = (ulong)r.Next(1000), Targets = [at.Target] };
        using TrainableAdapter made = at.Model.NewAdapter(options);
        (float[] a, float[] b) = RandLoraMethod.Projections(options, made.Groups);
        Check(at, r, options, (parameters, x, y) =>
        {
            double[] lambda = parameters[0][(at.Row * rank * bases)..], gamma = parameters[1][(at.Row * bases * side)..];
            // The longer side's index first.
            double D(int p, int q) => Enumerable.Range(0, bases * rank).Sum(m =>
                b[(p * bases + m / rank) * rank + m % rank] * lambda[m / bases * bases + m % bases] * gamma[m % bases * side + q]
                * a[m / bases * side + q]);
            return at.Add(x, y, (i, o) => options.Alpha / (double)rank * (at.In == side ? D(o, i) : D(i, o)));
        });
    }

    [Contract(25)]
    public void LoKr(int seed)
    {
        Random r = new(seed);
        Case at = new(device, r, widths);
        LoKrOptions options = new()
        {
            Rank = 1 + r.Next(Math.Min(5, Math.Max(at.In, at.Out))),
            Alpha = 0.5f + r.Next(4),
            Factor = r.Next(3) == 0 ? -1 : 1 + r.Next(6),
            Targets = [at.Target],
        };
        (int m, int n, int l, int k, bool isWhole) = LoKrMethod.Sides.Of(at.In, at.Out, options);
        Assert.Equal((at.In, at.Out), (m * n, l * k));
        Check(at, r, options, (parameters, x, y) =>
        {
            int rank = options.Rank;
            double[] w1 = parameters[0][(at.Row * m * l)..], w2 = isWhole
                ? parameters[1][(at.Row * n * k)..]
                : Reference.MatMul(parameters[1][(at.Row * n * rank)..], parameters[2][(at.Row * rank * k)..], n, rank, k);
            return at.Add(x, y, (i, o) => options.Alpha / (double)rank * w1[i / n * l + o / k] * w2[i % n * k + o % k]);
        });
    }

    [Contract(25)]
    public void A_head_in_place_of_the_model_s(int seed)
    {
        Random r = new(seed);
        (int width, int vocabulary, int rows) = (widths[r.Next(widths.Length)], 2 + r.Next(40), 1 + r.Next(9));
        Gpt2Config config = new(1, 3, width, vocabulary, 8) { TiedHead = r.Next(2) == 0 };
        using LanguageModel model = LanguageModel.Create(config, device, (ulong)r.Next(1000), trainable: false);
        using TrainableAdapter adapter = model.NewAdapter(new HeadOptions());
        TinyModels.Randomize(adapter, r, 0.7);
        Parameter head = Assert.Single(adapter.Parameters);
        float[] values = OpCheck.Values(r, rows * width, 1), dy = OpCheck.Values(r, rows * vocabulary, 1);
        double[] x = OpCheck.Wide(values), w = OpCheck.Wide(head.Value.ToArray()), down = OpCheck.Wide(dy);
        using Parameter input = new("x", device.From(values, [rows, width]));
        using Tensor table = device.From(OpCheck.Values(r, width * vocabulary, 1), [width, vocabulary]);
        using FrozenMatrix replaced = device.Freeze(table);
        using (Tape tape = new(device))
        {
            Variable y = Ops.Linear(tape.Read(input), replaced, null, On(tape));
            double[] logits = Reference.MatMul(x, Reference.Transpose(w, vocabulary, width), rows, width, vocabulary);
            OpCheck.Close(logits, y.Value.ToArray(), Tolerance);
            using Tensor gradient = device.From(dy, y.Shape);
            tape.Backward((y, gradient));
        }
        OpCheck.Close(Reference.MatMul(down, w, rows, vocabulary, width), input.Gradient.ToArray(), Tolerance);
        OpCheck.Close(
            Reference.MatMul(Reference.Transpose(down, rows, vocabulary), x, vocabulary, rows, width), head.Gradient.ToArray(), Tolerance);
        using Tensor targets = device.From([.. Enumerable.Range(0, rows).Select(_ => r.Next(vocabulary))]);
        float[][] whole = Loss(tape => Ops.Sum(Ops.CrossEntropy(Ops.Linear(tape.Read(input), replaced, null, On(tape)), targets, 0.1f)));
        float[][] blocks = Loss(tape => Ops.HeadCrossEntropy(tape.Read(input), replaced, targets, 0.1f, 1, null, On(tape)));
        foreach ((float[] wanted, float[] got) in whole.Zip(blocks)) OpCheck.Close(OpCheck.Wide(wanted), got, Tolerance);

        DeltaRows[] On(Tape tape) => [.. adapter.Stacks[0].On(tape, 0).Select(delta => (DeltaRows)delta)];

        // The loss, and its gradients of the input and of the head.
        float[][] Loss(Func<Tape, Variable> of)
        {
            input.ClearGradient();
            head.ClearGradient();
            using Tape tape = new(device);
            Variable loss = of(tape);
            tape.Backward(loss);
            return [[loss.Value.Item()], input.Gradient.ToArray(), head.Gradient.ToArray()];
        }
    }

    private void Check(Case at, Random r, AdapterOptions options, Formula formula)
    {
        using TrainableAdapter adapter = at.Model.NewAdapter(options);
        TinyModels.Randomize(adapter, r, 0.7);
        double[][] parameters = [.. adapter.Parameters.Select(p => OpCheck.Wide(p.Value.ToArray()))];
        using Parameter input = new("x", device.From(at.X, [at.Rows, at.In]));
        double[] x = OpCheck.Wide(at.X);
        DeltaStack stack = adapter.Stacks[^1];
        double[] expected = formula(parameters, x, at.Base(x));
        float[] dy = OpCheck.Values(r, expected.Length, 1);
        using (Tape tape = new(device))
        {
            Variable y = Ops.Linear(tape.Read(input), at.Frozen, at.Bias, [.. stack.On(tape, at.Row).Select(delta => (DeltaRows)delta)]);
            OpCheck.Close(expected, y.Value.ToArray(), Tolerance);
            using Tensor gradient = device.From(dy, y.Shape);
            tape.Backward((y, gradient));
        }
        adapter.CollectGradients();
        Compare(input, x);
        for (int p = 0; p < parameters.Length; p++) Compare(adapter.Parameters[p], parameters[p]);
        CheckMerged(at, stack, expected);
        at.Dispose();

        // A few entries; those that nothing reads have no gradient.
        void Compare(Parameter parameter, double[] values)
        {
            float[] got = parameter.Gradient.ToArray();
            int every = Math.Max(1, values.Length / 12);
            IEnumerable<int> some = Enumerable.Range(0, values.Length).Where(i => i % every == values.Length % every);
            (int At, double Wanted)[] chosen = [.. some.Select(i => (i, Difference(values, i)))];
            double scale = 1 + chosen.Max(one => Math.Abs(one.Wanted));
            foreach ((int i, double wanted) in chosen)
                Assert.True(Math.Abs(got[i] - wanted) <= 3 * Tolerance * scale, $"d{parameter.Name}[{i}]: {got[i]} for {wanted}");
        }

        double Difference(double[] values, int i)
        {
            double before = values[i], above, below;
            values[i] = before + H;
            above = Weighted();
            values[i] = before - H;
            below = Weighted();
            values[i] = before;
            return (above - below) / (2 * H);
        }

        double Weighted() => formula(parameters, x, at.Base(x)).Zip(dy, (y, weight) => y * weight).Sum();
    }

    private void CheckMerged(Case at, DeltaStack stack, double[] expected)
    {
        using Tape tape = new(device, record: false);
        using Tensor x = device.From(at.X, [at.Rows, at.In]), w = device.From(at.W, [at.In, at.Host]), b = device.From(at.B, [at.Host]);
        foreach (Delta delta in stack.On(tape, at.Row)) delta.AddTo(device, w, b);
        using Tensor bias = device.Empty([at.Host]);
        device.Axpby(1, b, 0, bias);
        using FrozenMatrix merged = device.Freeze(w);
        OpCheck.Close(expected, Ops.Linear(tape.Constant(x), merged, bias).Value.ToArray(), Tolerance);
    }

    /// <summary>A random model, one of its maps, and an input for it.</summary>
    private sealed class Case : IDisposable
    {
        private static readonly string[] kinds = ["q", "v", "c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"];

        public Case(Device device, Random r, int[] widths)
        {
            Width = widths[r.Next(widths.Length)];
            int layers = 1 + r.Next(3);
            Model = LanguageModel.Create(new Gpt2Config(layers, 3, Width, 11, 8), device, (ulong)r.Next(1000), trainable: false);
            (Target, Row, Rows) = (kinds[r.Next(kinds.Length)], r.Next(layers), 1 + r.Next(9));
            AdaptableMap map = AdapterTargets.Resolve([Target], Model.AdaptableMaps)[0].Maps[Row];
            (In, Out, Column, Host) = (map.In, map.Out, map.Column, ((LinearMap)map.Host).Out);
            (X, W, B) = (OpCheck.Values(r, Rows * In, 1), OpCheck.Values(r, In * Host, 1), OpCheck.Values(r, Host, 1));
            using Tensor w = device.From(W, [In, Host]);
            Frozen = device.Freeze(w);
            Bias = device.From(B, [Host]);
        }

        public LanguageModel Model { get; }

        public string Target { get; }

        public int Width { get; }

        public int Row { get; }

        public int Rows { get; }

        public int In { get; }

        public int Out { get; }

        public int Column { get; }

        public int Host { get; }

        public bool IsPart => Host != Out;

        public float[] X { get; }

        public float[] W { get; }

        public float[] B { get; }

        public FrozenMatrix Frozen { get; }

        public Tensor Bias { get; }

        // x · W + b. (n, host)
        public double[] Base(double[] x) => Reference.AddRow(Reference.MatMul(x, OpCheck.Wide(W), Rows, In, Host), OpCheck.Wide(B));

        // y[:, columns] += x · ΔW. (n, host)
        public double[] Add(double[] x, double[] y, Func<int, int, double> weight)
        {
            double[] dense = new double[In * Out], result = [.. y];
            for (int i = 0; i < In; i++)
                for (int o = 0; o < Out; o++) dense[i * Out + o] = weight(i, o);
            double[] added = Reference.MatMul(x, dense, Rows, In, Out);
            for (int n = 0; n < Rows; n++)
                for (int o = 0; o < Out; o++) result[n * Host + Column + o] += added[n * Out + o];
            return result;
        }

        public void Dispose()
        {
            Frozen.Dispose();
            Bias.Dispose();
            Model.Dispose();
        }
    }
}
