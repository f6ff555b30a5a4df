using System.Text.Json;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>A 2-layer GPT-2 against PyTorch in float64 (data/golden/gpt2): logits, losses, every gradient, LoRA, AdamW, greedy.</summary>
public abstract class Gpt2GoldenContract(Device device) : IDisposable
{
    private static readonly string place = Path.Combine(AppContext.BaseDirectory, "data", "golden", "gpt2");

    private readonly Safetensors expected = Safetensors.Open(Path.Combine(place, "expected.safetensors"));
    private readonly JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(place, "case.json"))).RootElement;

    protected Device Device => device;

    public virtual void Dispose() => expected.Dispose();

    [Fact]
    public void Logits_are_PyTorchs()
    {
        using LanguageModel model = LanguageModel.Load(place, device);
        for (int i = 0; i < Sequences.Length; i++)
            // Two layers of float32 sums over at most 192 terms, logits of magnitude up to 10: 1e-6 relative, measured 2e-6.
            Close(Expected($"logits.{i}"), model.Logits(Sequences[i]), 1e-5);
    }

    [Theory]
    [InlineData(0f, "loss")]
    [InlineData(0.1f, "loss_smooth_0.1")]
    public void Losses_are_PyTorchs(float smoothing, string name)
    {
        using LanguageModel model = LanguageModel.Load(place, device);
        LossResult result = Evaluation.Loss(model, Pairs, labelSmoothing: smoothing);
        Assert.Equal(Sequences.Sum(s => s.Length) - golden.GetProperty("prompt").EnumerateArray().Sum(p => p.GetInt32()), result.Tokens);
        Assert.Equal(Expected(name)[0], result.Loss, 1e-6);       // float32 losses of about 5, averaged over 46 positions
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_weight_gradient_is_PyTorchs(bool checkpointBlocks)
    {
        using LanguageModel model = LanguageModel.Load(place, device, trainable: true);
        Backward(model, null, checkpointBlocks);
        foreach (Parameter p in model.Parameters)
            // Gradients of magnitude up to 0.3 summed over 46 positions in float32; measured below 1e-6.
            Close(Expected("grad." + p.Name), p.Gradient.ToArray(), 3e-6, p.Name);
    }

    [Fact]
    public void Lora_loss_and_gradients_are_PyTorchs()
    {
        using LanguageModel model = LanguageModel.Load(place, device);
        using TrainableAdapter adapter = GoldenLora(model);
        Assert.Equal(Expected("lora.loss_smooth_0.1")[0], Evaluation.Loss(model, Pairs, adapter, 0.1f).Loss, 2e-6);
        Backward(model, adapter, false);
        foreach ((string name, LowRankStack f, int row) in Factors(adapter))
        {
            Close(
                Transposed($"{name.Replace("lora.", "lora.grad.")}.A", 4, f.Group.In), Part(f.A.Gradient, row, f.Group.In * 4), 3e-6, name);
            Close(
                Transposed($"{name.Replace("lora.", "lora.grad.")}.B", f.Group.Out, 4),
                Part(f.B.Gradient, row, 4 * f.Group.Out), 3e-6, name);
        }
    }

    [Fact]
    public void Eight_AdamW_losses_are_PyTorchs()
    {
        using LanguageModel model = LanguageModel.Load(place, device);
        using TrainableAdapter adapter = GoldenLora(model);
        TrainOptions options = new() { Beta1 = 0.9f, Beta2 = 0.999f, Epsilon = 1e-8f, WeightDecay = 0.01f, ClipNorm = 0 };
        using AdamW optimizer = new(adapter.Parameters, options);
        float[] losses = Expected("lora.adamw_losses");
        Assert.Equal(8, losses.Length);
        foreach (float wanted in losses)
        {
            double loss = Backward(model, adapter, false);
            // Adam divides by the gradient's own size, which magnifies rounding where a gradient is nearly zero.
            Assert.Equal(wanted, loss, 1e-4);
            optimizer.Step(0.01f, optimizer.GradientNorm());
        }
    }

    private int[][] Sequences => [.. golden.GetProperty("sequences").EnumerateArray().Select(TinyModels.Ids)];

    private EncodedPair[] Pairs =>
        [.. Sequences.Zip(
            golden.GetProperty("prompt").EnumerateArray(), (ids, p) => new EncodedPair(ids[..p.GetInt32()], ids[p.GetInt32()..]))];

    private double Backward(LanguageModel model, IAdapter? adapter, bool checkpointBlocks)
    {
        TokenStream stream = TokenStreams.FromPairs(Pairs).With(adapter);
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device, record: true, checkpointBlocks);
        Variable loss = model.Loss(tape, batch, 0.1f, 1f / stream.Targets.Length);
        tape.Backward(loss);
        return loss.Value.Item();
    }

    private TrainableAdapter GoldenLora(LanguageModel model)
    {
        TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 4, Alpha = 8 });
        foreach (LowRankStack f in adapter.Stacks.Cast<LowRankStack>())
        {
            float[] a = [.. f.Group.Maps.SelectMany(map => Transposed($"{LoraName(map)}.A", 4, map.In))];
            float[] b = [.. f.Group.Maps.SelectMany(map => Transposed($"{LoraName(map)}.B", map.Out, 4))];
            device.Upload(a, f.A.Value);
            device.Upload(b, f.B.Value);
        }
        return adapter;
    }

    private static IEnumerable<(string Name, LowRankStack Stack, int Row)> Factors(TrainableAdapter adapter) =>
        adapter.Stacks.Cast<LowRankStack>().SelectMany(f => f.Group.Maps.Select((map, row) => (LoraName(map), f, row)));

    private static string LoraName(AdaptableMap map) => $"lora.h.{map.Layer}.{(map.Kind == "attn.q" ? "q" : "v")}";

    private float[] Expected(string name)
    {
        SafetensorsEntry entry = expected.Get(name);
        float[] values = new float[entry.Length];
        expected.ReadFloats(entry, values);
        return values;
    }

    // The file's factors are (r, in) and (C, r) as in PEFT; ours are their transposes.
    private float[] Transposed(string name, int rows, int columns)
    {
        float[] from = Expected(name), to = new float[from.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                to[j * rows + i] = from[i * columns + j];
        return to;
    }

    private static float[] Part(Tensor stacked, int row, int size) => stacked.ToArray().AsSpan(row * size, size).ToArray();

    private static void Close(float[] wanted, float[] got, double tolerance, string what = "")
    {
        Assert.Equal(wanted.Length, got.Length);
        double worst = wanted.Zip(got, (w, g) => Math.Abs((double)w - g)).Max();
        Assert.True(worst <= tolerance, $"{what}: largest difference {worst:E2}, allowed {tolerance:E2}");
    }
}
