using System.Globalization;
using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

public sealed class QuantizerTests : IDisposable
{
    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void The_specification_s_test_vectors_hold()
    {
        float[] vector = [0.5f, -0.25f, 0.1f, 0, 1 / 3f, -0.5f, 0.001f];
        string[][] rows = [.. File.ReadLines(Path.Combine(AppContext.BaseDirectory, "docs", "adapter-file.md"))
            .Where(line => line.EndsWith("` |") && line.Contains(", "))
            .Select(line => line.Split('|', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
            .Where(cells => cells.Length == 4)];
        Assert.Equal(["8", "4", "3", "2"], rows.Select(cells => cells[0]));
        foreach (string[] cells in rows)
        {
            int bits = int.Parse(cells[0], CultureInfo.InvariantCulture);
            sbyte[] codes = new sbyte[vector.Length];
            float step = CoefficientQuantizer.Quantize(vector, bits, codes);
            byte[] packed = new byte[CoefficientQuantizer.PackedLength(vector.Length, bits)];
            CoefficientQuantizer.Pack(codes, bits, packed);
            Assert.Equal(double.Parse(cells[1], CultureInfo.InvariantCulture), step);
            Assert.Equal(cells[2].Replace('−', '-').Split(", ").Select(c => sbyte.Parse(c, CultureInfo.InvariantCulture)), codes);
            Assert.Equal(cells[3].Trim('`'), Convert.ToHexStringLower(packed));
        }
    }

    [Property(MaxTest = 500)]
    public void The_error_is_at_most_half_a_step(int seed)
    {
        (float[] vector, int bits) = Vector(new Random(seed));
        float[] rounded = [.. vector];
        Round(rounded, bits);
        double step = CoefficientQuantizer.Step(vector, bits);
        double levels = CoefficientQuantizer.Levels(bits);
        // The quotient α / step, at most L, is rounded to float32 before it is rounded to a code.
        double bound = step * (0.5 + levels * Math.Pow(2, -24));
        for (int i = 0; i < vector.Length; i++) Assert.InRange(Math.Abs((double)vector[i] - rounded[i]), 0, bound);
        Assert.Equal(vector.Max(MathF.Abs) / levels, step, step * Math.Pow(2, -16));
    }

    [Property(MaxTest = 500)]
    public void Quantizing_what_was_dequantized_changes_no_bit(int seed)
    {
        (float[] vector, int bits) = Vector(new Random(seed));
        sbyte[] first = new sbyte[vector.Length], second = new sbyte[vector.Length];
        float step = CoefficientQuantizer.Quantize(vector, bits, first);
        CoefficientQuantizer.Dequantize(first, step, vector);
        // Exact: the same in double as in float32.
        Assert.All(vector.Zip(first), pair => Assert.Equal((double)step * pair.Second, pair.First));
        Assert.Equal(step, CoefficientQuantizer.Quantize(vector, bits, second));
        Assert.Equal(first, second);
    }

    [Property(MaxTest = 500)]
    public void Packed_codes_come_back_in_any_width_and_length(int seed)
    {
        Random r = new(seed);
        int bits = CoefficientQuantizer.Widths[r.Next(4)], levels = CoefficientQuantizer.Levels(bits), count = r.Next(70);
        sbyte[] codes = [.. Enumerable.Range(0, count).Select(_ => (sbyte)r.Next(-levels, levels + 1))], back = new sbyte[count];
        byte[] packed = new byte[CoefficientQuantizer.PackedLength(count, bits)];
        r.NextBytes(packed);
        CoefficientQuantizer.Pack(codes, bits, packed);
        Assert.Equal((count * bits + 7) / 8, packed.Length);
        Assert.True(CoefficientQuantizer.TryUnpack(packed, bits, back));
        Assert.Equal(codes, back);
        int used = count * bits;
        for (int j = used; j < 8 * packed.Length; j++) Assert.Equal(0, packed[j / 8] >> (j % 8) & 1);
        if (count == 0) return;
        codes[r.Next(count)] = (sbyte)(-levels - 1);
        CoefficientQuantizer.Pack(codes, bits, packed);
        Assert.False(CoefficientQuantizer.TryUnpack(packed, bits, back));
    }

    [Fact]
    public void Zero_tiny_and_impossible_vectors()
    {
        foreach (int bits in CoefficientQuantizer.Widths)
        {
            foreach (float[] small in (float[][])[[0, -0f, 0], [float.Epsilon, 0, -1e-44f], []])
            {
                Assert.Equal(0, CoefficientQuantizer.Step(small, bits));
                Round(small, bits);
                Assert.All(small, x => Assert.Equal(0, x));
            }
            foreach (float bad in (float[])[float.NaN, float.PositiveInfinity, -float.MaxValue])
            {
                float[] vector = [1, bad, 2];
                Assert.Contains(
                    "not a finite number",
                    Assert.Throws<NolaException>(() => CoefficientQuantizer.Quantize(vector, bits, new sbyte[3])).Message);
                Round(vector, bits);
                Assert.All(vector, x => Assert.True(float.IsNaN(x)));
            }
        }
        Assert.Contains("bits is 5; expected 8, 4, 3 or 2", Assert.Throws<NolaException>(() => CoefficientQuantizer.Levels(5)).Message);
    }

    [Property(MaxTest = 20)]
    public void A_quantized_file_acts_as_the_float_adapter_with_rounded_coefficients(int seed)
    {
        Random r = new(seed);
        int bits = CoefficientQuantizer.Widths[r.Next(4)];
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = TinyModels.Create(device);
        string own = Path.Combine(directory, Path.GetRandomFileName()), whole = own + ".f", packed = own + ".q", again = own + ".q2";
        float[] rounded;
        TrainableAdapter Fresh() => r.Next(4) > 0
            ? model.NewAdapter(new NolaOptions
            {
                BasesA = 1 + r.Next(40),
                BasesB = 1 + r.Next(40),
                PerLayer = r.Next(2) == 0,
                Targets = ["q", "mlp.*"],
            })
            : model.NewAdapter(new LoraOptions { Rank = 3, Targets = ["v", "h.1.mlp.c_fc"] });
        long[] sizes;
        using (TrainableAdapter adapter = Fresh())
        {
            TinyModels.Randomize(adapter, r);
            AdapterFile.Save(adapter, whole);
            RoundRows(adapter, bits);
            rounded = model.Logits(ids, adapter);
            sizes = [.. adapter.Parameters.Select(p =>
                (long)p.Shape[0] * (CoefficientQuantizer.PackedLength(p.Shape.Length / p.Shape[0], bits) + 4))];
        }
        QuantizeReport report = AdapterQuantization.Quantize(whole, bits, packed);
        using LoadedAdapter loaded = AdapterFile.Load(packed, model);
        Assert.Equal(rounded, model.Logits(ids, loaded));
        using (Safetensors file = Safetensors.Open(packed)) Assert.Equal(sizes.Sum(), file.Entries.Sum(e => e.End - e.Begin));
        Assert.Equal((loaded.ParameterCount, new FileInfo(packed).Length), (report.Values, report.BytesAfter));
        if (loaded.Options is not NolaOptions) return;
        using TrainableAdapter further = AdapterFile.LoadTrainable(packed, model);
        AdapterFile.Save(further, again);
        Assert.Equal(File.ReadAllBytes(packed), File.ReadAllBytes(again));
    }

    [Property(MaxTest = 10)]
    public void Training_with_rounded_coefficients_has_the_gradient_at_the_rounded_point(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        TokenStream stream = TokenStreams.FromPairs(TinyModels.Pairs(r, 3, 61));
        NolaOptions options = new() { Bases = 20, Targets = ["*"], QuantizeBits = CoefficientQuantizer.Widths[r.Next(4)] };
        float[][] start;
        (float Loss, float[][] Gradients) through, at;
        using (TrainableAdapter adapter = model.NewAdapter(options))
        {
            TinyModels.Randomize(adapter, r);
            start = [.. adapter.Parameters.Select(p => p.Value.ToArray())];
            through = Gradients(adapter);
            // Training moves the float32 numbers; rounding leaves them as they are.
            Assert.Equal(start, adapter.Parameters.Select(p => p.Value.ToArray()));
        }
        using TrainableAdapter plain = model.NewAdapter(options with { QuantizeBits = 0 });
        foreach ((Parameter p, float[] values) in plain.Parameters.Zip(start)) device.Upload(values, p.Value);
        RoundRows(plain, options.QuantizeBits);
        at = Gradients(plain);
        Assert.Equal(at.Loss, through.Loss);
        Assert.Equal(at.Gradients, through.Gradients);

        (float, float[][]) Gradients(TrainableAdapter adapter)
        {
            adapter.Update();
            using StreamTensors batch = new(device, stream.With(adapter));
            using Tape tape = new(device);
            Variable loss = model.Loss(tape, batch, 0.1f, 1f / stream.Targets.Length);
            float value = loss.Value.Item();
            tape.Backward(loss);
            adapter.CollectGradients();
            return (value, [.. adapter.Parameters.Select(p => p.Gradient.ToArray())]);
        }
    }

    [Fact]
    public void Training_at_few_bits_lowers_the_loss_and_saves_what_was_scored()
    {
        EncodedPair[] pairs =
            [.. TinyModels.Pairs(new Random(1), 60, 61).Select(p => p with { Completion = [.. p.Completion.Select(id => id % 5)] })];
        using LanguageModel model = TinyModels.Create(device);
        using RunDirectory run = new(directory);
        TrainResult result;
        using (TrainableAdapter adapter =
            model.NewAdapter(new NolaOptions { Rank = 4, Bases = 60, Alpha = 16, Targets = ["*"], QuantizeBits = 3 }))
            result = new Trainer(model, adapter, new TrainOptions
            {
                Epochs = 12,
                BatchTokens = 60,
                LearningRate = 0.02f,
                EvalPairs = 0,
            }, run).Run(pairs, pairs);
        Assert.True(result.LastLoss < result.FirstLoss - 0.1, $"{result.FirstLoss} → {result.LastLoss}");
        using LoadedAdapter loaded = AdapterFile.Load(run.BestAdapter, model);
        Assert.Equal(result.BestLoss, Evaluation.Loss(model, pairs, loaded).Loss);
    }

    [Fact]
    public void What_cannot_be_quantized_or_is_damaged_is_refused()
    {
        using LanguageModel model = TinyModels.Create(device);
        string whole = Path.Combine(directory, "whole"), packed = Path.Combine(directory, "packed");
        using (TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Bases = 5 })) AdapterFile.Save(adapter, whole);
        AdapterQuantization.Quantize(whole, 4, packed);
        byte[] before = File.ReadAllBytes(packed);
        Assert.Contains("exists already", Refused(whole, 4, packed));
        Assert.Contains("exists already", Refused(whole, 4, whole));
        Assert.Equal(before, File.ReadAllBytes(packed));
        Assert.Contains("quantized to 4 bits already", Refused(packed, 3, Path.Combine(directory, "x")));
        Assert.Contains("bits is 1", Refused(whole, 1, Path.Combine(directory, "x")));
        Assert.Contains("no such adapter", Refused(Path.Combine(directory, "none"), 4, Path.Combine(directory, "x")));
        Assert.Contains("a directory", Refused(directory, 4, Path.Combine(directory, "x")));
        Assert.Contains(
            "not an adapter file", Refused(Path.Combine(TinyModels.Golden, "expected.safetensors"), 4, Path.Combine(directory, "x")));
        Assert.False(File.Exists(Path.Combine(directory, "x")));
        Assert.Contains("'bits' = '5'", Damaged(bits: "5"));
        Assert.Contains("needs U8 [2, 2]", Damaged(bits: "3"));
        Assert.Contains("a code or a step that is never written", Damaged(code: 0x88));
        Assert.Contains("a code or a step that is never written", Damaged(step: float.NaN));

        string Damaged(string? bits = null, byte? code = null, float? step = null)
        {
            string path = Path.Combine(directory, "damaged");
            using (Safetensors file = Safetensors.Open(packed))
                SafetensorsWriter.Write(path, file.Entries.Select(e => e.Type == "U8"
                    ? SafetensorsTensor.OfBytes(
                        e.Name, Size(e), code is { } c ? [.. file.Bytes(e).ToArray().Select(_ => c)] : file.Bytes(e).ToArray())
                    : new SafetensorsTensor(e.Name, Size(e), [.. Enumerable.Repeat(step ?? 1, (int)e.Length)])),
                    bits is null ? file.Metadata : new Dictionary<string, string>(file.Metadata) { ["bits"] = bits });
            return Assert.Throws<NolaException>(() => AdapterFile.Load(path, model)).Message;
        }

        static Shape Size(SafetensorsEntry entry) => Shape.Create([.. entry.Shape.Select(d => (int)d)]);

        static string Refused(string path, int bits, string output) =>
            Assert.Throws<NolaException>(() => AdapterQuantization.Quantize(path, bits, output)).Message;
    }

    private static (float[] Vector, int Bits) Vector(Random r)
    {
        float scale = MathF.Pow(10, r.Next(-30, 30));
        return (
            [.. Enumerable.Range(0, 1 + r.Next(50)).Select(_ => scale * (float)(2 * r.NextDouble() - 1))],
            CoefficientQuantizer.Widths[r.Next(4)]);
    }

    private static void Round(Span<float> vector, int bits) => SymmetricRounding.Round(vector, CoefficientQuantizer.Levels(bits), vector);

    private void RoundRows(TrainableAdapter adapter, int bits)
    {
        foreach (Parameter p in adapter.Parameters)
        {
            float[] values = p.Value.ToArray();
            int length = values.Length / p.Shape[0];
            for (int i = 0; i < values.Length; i += length) Round(values.AsSpan(i, length), bits);
            device.Upload(values, p.Value);
        }
        adapter.Update();
    }
}
