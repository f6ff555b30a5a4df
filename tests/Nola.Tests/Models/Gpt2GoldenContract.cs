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
        using Gpt2 model = Gpt2.Load(place, device);
        for (int i = 0; i < Sequences.Length; i++)
            // Two layers of float32 sums over at most 192 terms, logits of magnitude up to 10: 1e-6 relative, measured 2e-6.
            Close(Expected($"logits.{i}"), model.Logits(Sequences[i]), 1e-5);
    }

    [Theory]
    [InlineData(0f, "loss")]
    [InlineData(0.1f, "loss_smooth_0.1")]
    public void Losses_are_PyTorchs(float smoothing, string name)
    {
        using Gpt2 model = Gpt2.Load(place, device);
        LossResult result = Evaluation.Loss(model, Pairs, smoothing);
        Assert.Equal(Sequences.Sum(s => s.Length) - golden.GetProperty("prompt").EnumerateArray().Sum(p => p.GetInt32()), result.Tokens);
        Assert.Equal(Expected(name)[0], result.Loss, 1e-6);       // float32 losses of about 5, averaged over 46 positions
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_weight_gradient_is_PyTorchs(bool checkpointBlocks)
    {
        using Gpt2 model = Gpt2.Load(place, device, trainable: true);
        Backward(model, checkpointBlocks);
        foreach (Parameter p in model.Parameters)
            // Gradients of magnitude up to 0.3 summed over 46 positions in float32; measured below 1e-6.
            Close(Expected("grad." + p.Name), p.Gradient.ToArray(), 3e-6, p.Name);
    }

    [Fact]
    public void Lora_loss_and_gradients_are_PyTorchs()
    {
        using Gpt2 model = Gpt2.Load(place, device);
        using LoraAdapter adapter = GoldenLora(model);
        Assert.Equal(Expected("lora.loss_smooth_0.1")[0], Evaluation.Loss(model, Pairs, 0.1f).Loss, 2e-6);
        Backward(model, false);
        foreach ((string name, Adapter.Factors f, int layer) in Factors(adapter))
        {
            int row = f.Row(layer);
            Close(Transposed($"{name.Replace("lora.", "lora.grad.")}.A", f.Rank, f.In), Part(f.A.Gradient, row, f.In * f.Rank), 3e-6, name);
            Close(Transposed($"{name.Replace("lora.", "lora.grad.")}.B", f.Out, f.Rank), Part(f.B.Gradient, row, f.Rank * f.Out), 3e-6, name);
        }
    }

    [Fact]
    public void Eight_AdamW_losses_are_PyTorchs()
    {
        using Gpt2 model = Gpt2.Load(place, device);
        using LoraAdapter adapter = GoldenLora(model);
        TrainOptions options = new() { Beta1 = 0.9f, Beta2 = 0.999f, Epsilon = 1e-8f, WeightDecay = 0.01f, ClipNorm = 0 };
        using AdamW optimizer = new(adapter.Parameters, options);
        float[] losses = Expected("lora.adamw_losses");
        Assert.Equal(8, losses.Length);
        foreach (float wanted in losses)
        {
            double loss = Backward(model, false);
            // Adam divides by the gradient's own size, which magnifies rounding where a gradient is nearly zero.
            Assert.Equal(wanted, loss, 1e-4);
            optimizer.Step(0.01f, optimizer.GradientNorm());
        }
    }

    private int[][] Sequences => [.. golden.GetProperty("sequences").EnumerateArray().Select(TinyModels.Ids)];

    private EncodedPair[] Pairs =>
        [.. Sequences.Zip(golden.GetProperty("prompt").EnumerateArray(), (ids, p) => new EncodedPair(ids[..p.GetInt32()], ids[p.GetInt32()..]))];

    private double Backward(Gpt2 model, bool checkpointBlocks)
    {
        TokenStream stream = TokenStreams.FromPairs(Pairs);
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device, record: true, checkpointBlocks);
        Variable loss = model.Loss(tape, batch, 0.1f, 1f / stream.Targets.Length);
        tape.Backward(loss);
        return loss.Value.Item();
    }

    private LoraAdapter GoldenLora(Gpt2 model)
    {
        LoraAdapter adapter = LoraAdapter.Attach(model, new LoraOptions { Rank = 4, Alpha = 8 });
        foreach (Adapter.Factors f in adapter.FactorSets)
        {
            float[] a = [.. f.Layers.SelectMany(l => Transposed($"{LoraName(f, l)}.A", f.Rank, f.In))];
            float[] b = [.. f.Layers.SelectMany(l => Transposed($"{LoraName(f, l)}.B", f.Out, f.Rank))];
            device.Upload(a, f.A.Value);
            device.Upload(b, f.B.Value);
        }
        return adapter;
    }

    private static IEnumerable<(string Name, Adapter.Factors F, int Layer)> Factors(LoraAdapter adapter) =>
        adapter.FactorSets.SelectMany(f => f.Layers.Select(l => (LoraName(f, l), f, l)));

    private static string LoraName(Adapter.Factors f, int layer) => $"lora.h.{layer}.{(f.Kind == MapKind.Q ? "q" : "v")}";

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
