using System.Text.Json;
using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// rsLoRA and DoRA: directories that PEFT 0.17.1 wrote, and what it computes of them in float64 (data/golden/peft-lora); and what must
/// hold of DoRA on any maps.
/// </summary>
public sealed class LoraVariantTests : IDisposable
{
    private static readonly string golden = Path.Combine(AppContext.BaseDirectory, "data", "golden");
    private static readonly string place = Path.Combine(golden, "peft-lora");

    private readonly CpuDevice device = new(2);
    private readonly LanguageModel model;
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly JsonElement cases = Case(place);

    public LoraVariantTests() => model = LanguageModel.Load(TinyModels.Golden, device);

    public void Dispose()
    {
        model.Dispose();
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData("rslora")]
    [InlineData("dora")]
    public void Logits_losses_gradients_and_AdamW_losses_are_PEFTs(string name)
    {
        using LoadedAdapter loaded = PeftFiles.Load(Path.Combine(place, name), model);
        CheckOutputs(name, loaded);
        using TrainableAdapter adapter = Trainable(loaded);
        TokenStream stream = TokenStreams.FromPairs(Pairs(cases)).With(adapter);
        TrainOptions options = new() { Beta1 = 0.9f, Beta2 = 0.999f, Epsilon = 1e-8f, WeightDecay = 0.01f, ClipNorm = 0 };
        using AdamW optimizer = new(adapter.Parameters, options);
        double[] losses = [.. Number(name).GetProperty("adamw_losses").EnumerateArray().Select(v => v.GetDouble())];
        for (int step = 0; step < losses.Length; step++)
        {
            // PEFT's own float32 run is within 9e-7 of a loss and 5e-6 of a gradient's largest entry.
            Assert.Equal(losses[step], Backward(stream, adapter), step == 0 ? 2e-5 : 1e-4);
            if (step == 0) CheckGradients(name, adapter);
            optimizer.Step(0.01f, optimizer.GradientNorm());
            adapter.Update();
        }
    }

    [Theory]
    [InlineData("rslora")]
    [InlineData("dora")]
    public void Saved_exported_and_merged_it_is_the_same_adapter(string name)
    {
        string file = Path.Combine(directory, "a"), again = Path.Combine(directory, "again");
        using (LoadedAdapter given = PeftFiles.Load(Path.Combine(place, name), model))
        using (TrainableAdapter adapter = Trainable(given))
        {
            AdapterFile.Save(adapter, file);
            PeftFiles.Save(adapter, again);
        }
        (string[] names, float[] values) = Tensors(Path.Combine(place, name));
        Assert.Equal(names, Tensors(again).Names);
        Assert.Equal(values, Tensors(again).Values);
        foreach (string path in (string[])[file, again])
        {
            using LoadedAdapter loaded = AdapterFile.Load(path, model);
            CheckOutputs(name, loaded);
        }
        using LoadedAdapter last = AdapterFile.Load(file, model);
        last.Merge();
        Assert.Equal(Number(name).GetProperty("merged_loss").GetDouble(), Evaluation.Loss(model, Pairs(cases)).Loss, 2e-5);
    }

    [Fact]
    public void RsLoRA_on_LLaMA_gives_PEFTs_logits_and_loss()
    {
        string llama = Path.Combine(golden, "peft-llama");
        JsonElement all = Case(llama), numbers = all.GetProperty("cases").GetProperty("lora-rslora").GetProperty("float64");
        using LanguageModel other = LanguageModel.Load(Path.Combine(golden, "llm", "llama-gqa"), device);
        using LoadedAdapter adapter = PeftFiles.Load(Path.Combine(llama, "lora-rslora"), other);
        using Safetensors expected = Safetensors.Open(Path.Combine(llama, "lora-rslora", "expected.safetensors"));
        float[] logits = expected.ReadFinite(expected.Get("logits.1"));
        OpCheck.Close(OpCheck.Wide(logits), other.Logits(TinyModels.Ids(all.GetProperty("sequences")[1]), adapter), 2e-5);
        Assert.Equal(numbers.GetProperty("loss").GetDouble(), Evaluation.Loss(other, Pairs(all), adapter).Loss, 1e-5);
    }

    [Property(MaxTest = 12)]
    public void DoRA_on_parts_of_a_module_is_PEFTs_DoRA_of_the_whole(int seed)
    {
        Random r = new(seed);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel own = TinyModels.Create(device);
        string path = Path.Combine(directory, $"{seed}");
        float[] trained;
        using (TrainableAdapter adapter = own.NewAdapter(new LoraOptions
        {
            Rank = 1 + r.Next(4),
            Alpha = 1 + r.Next(9),
            Decomposed = true,
            RankStabilized = r.Next(2) == 0,
            Targets = r.Next(2) == 0 ? ["q", "v"] : ["v", "c_fc"],
        }))
        {
            TinyModels.Randomize(adapter, r);
            trained = own.Logits(ids, adapter);
            PeftFiles.Save(adapter, path);
        }
        using LoadedAdapter loaded = AdapterFile.Load(path, own);
        Assert.Contains(loaded.Groups, group => group.Kind == "attn.c_attn");
        // Products of another rank are summed in another order.
        OpCheck.Close(OpCheck.Wide(trained), own.Logits(ids, loaded), 5e-5);
    }

    [Theory]
    [InlineData("q", "lm_head", "targets: DoRA is on linear maps of blocks, and lm_head is none")]
    [InlineData("q", "wte", "targets: DoRA is on linear maps of blocks, and wte is none")]
    public void DoRA_outside_of_blocks_is_refused(string first, string second, string expected) => Assert.StartsWith(
        expected,
        Assert.Throws<NolaException>(() => model.NewAdapter(new LoraOptions { Decomposed = true, Targets = [first, second] })).Message);

    [Fact]
    public void DoRA_on_a_model_that_is_trained_is_refused()
    {
        using LanguageModel trained = TinyModels.Create(device, trainable: true);
        Assert.Equal(
            "DoRA: the model's weights are trained, and it reads frozen ones; load the model frozen.",
            Assert.Throws<NolaException>(() => trained.NewAdapter(new LoraOptions { Decomposed = true })).Message);
    }

    [Fact]
    public void DoRA_is_no_plain_LoRA()
    {
        using LoadedAdapter adapter = PeftFiles.Load(Path.Combine(place, "dora"), model);
        Assert.Contains(
            "is not a low-rank product",
            Assert.Throws<NolaException>(() => PeftFiles.Save(adapter, Path.Combine(directory, "plain"), asLora: true)).Message);
        Assert.False(Directory.Exists(Path.Combine(directory, "plain")));
    }

    [Fact]
    public void Lengths_without_DoRA_and_DoRA_without_lengths_are_refused()
    {
        const string Lengths = "base_model.model.transformer.h.1.mlp.c_fc.lora_magnitude_vector";
        const string Settings = "adapter_config.json";
        string config = Path.Combine(directory, Settings), text = File.ReadAllText(Path.Combine(place, "dora", Settings));
        File.WriteAllText(config, text);
        Copy(all => all.RemoveAll(tensor => tensor.Name == Lengths));
        Assert.Contains("has no lora_magnitude_vector of h.1.mlp.c_fc, which use_dora", Refused());
        Copy(_ => { });
        File.WriteAllText(config, text.Replace("\"use_dora\": true", "\"use_dora\": false"));
        Assert.Contains("has lora_magnitude_vector of h.0.attn.c_attn, which use_dora", Refused());
        File.WriteAllText(config, text.Replace("\"use_dora\": true", "\"use_dora\": 1"));
        Assert.Contains("use_dora is '1'; expected true or false", Refused());
        File.WriteAllText(config, text.Replace("\"use_rslora\": false", "\"use_rslora\": \"yes\""));
        Assert.Contains("use_rslora is '\"yes\"'; expected true or false", Refused());
    }

    private void CheckOutputs(string name, LoadedAdapter adapter)
    {
        using Safetensors expected = Safetensors.Open(Path.Combine(place, name, "expected.safetensors"));
        int[][] sequences = [.. cases.GetProperty("sequences").EnumerateArray().Select(TinyModels.Ids)];
        for (int i = 0; i < sequences.Length; i++)
            OpCheck.Close(OpCheck.Wide(expected.ReadFinite(expected.Get($"logits.{i}"))), model.Logits(sequences[i], adapter), 1e-4);
        Assert.Equal(Number(name).GetProperty("loss").GetDouble(), Evaluation.Loss(model, Pairs(cases), adapter).Loss, 2e-5);
    }

    private void CheckGradients(string name, TrainableAdapter adapter)
    {
        using Safetensors expected = Safetensors.Open(Path.Combine(place, name, "expected.safetensors"));
        int compared = 0;
        foreach (MapStack stack in adapter.Stacks.Cast<MapStack>())
        {
            foreach (Parameter p in stack.Parameters)
            {
                float[] all = p.Gradient.ToArray();
                int length = all.Length / stack.Group.Count;
                for (int row = 0; row < stack.Group.Count; row++, compared++)
                {
                    string part = p.Name[^1] == 'm' ? "lora_magnitude_vector" : $"lora_{p.Name[^1]}.weight";
                    string key = $"grad.base_model.model.transformer.{stack.Layers[row].Name}.{part}";
                    float[] wanted = expected.ReadFinite(expected.Get(key)), own = all[(row * length)..((row + 1) * length)];
                    // Ours are the transposes of PEFT's.
                    if (p.Shape.Rank == 3) own = HostMatrix.Transpose(own, p.Shape[1], p.Shape[2]);
                    double bound = 1e-4 * wanted.Max(Math.Abs);
                    Assert.All(wanted.Zip(own), pair => Assert.InRange(pair.Second, pair.First - bound, pair.First + bound));
                }
            }
        }
        Assert.Equal(expected.Entries.Count(entry => entry.Name.StartsWith("grad.")), compared);
    }

    private TrainableAdapter Trainable(LoadedAdapter loaded)
    {
        TrainableAdapter adapter = model.NewAdapter(loaded.Options);
        foreach ((Parameter to, Parameter from) in adapter.Parameters.Zip(loaded.Stacks.SelectMany(stack => stack.Parameters)))
            device.Upload(from.Value.ToArray(), to.Value);
        adapter.Update();
        return adapter;
    }

    private double Backward(TokenStream stream, TrainableAdapter adapter)
    {
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device);
        Variable loss = model.Loss(tape, batch, 0, 1f / stream.Targets.Length);
        tape.Backward(loss);
        adapter.CollectGradients();
        return loss.Value.Item();
    }

    private void Copy(Action<List<SafetensorsTensor>> change)
    {
        const string Weights = "adapter_model.safetensors";
        AdapterFiles.Change(Path.Combine(place, "dora", Weights), Path.Combine(directory, Weights), null, change);
    }

    private string Refused()
    {
        long before = device.Pool.LiveBytes;
        string message = Assert.Throws<NolaException>(() => AdapterFile.Load(directory, model)).Message;
        Assert.Equal(before, device.Pool.LiveBytes);
        return message;
    }

    private JsonElement Number(string name) => cases.GetProperty("cases").GetProperty(name).GetProperty("float64");

    private static (string[] Names, float[] Values) Tensors(string directory)
    {
        using Safetensors file = Safetensors.Open(Path.Combine(directory, "adapter_model.safetensors"));
        SafetensorsEntry[] entries = [.. file.Entries.OrderBy(entry => entry.Name, StringComparer.Ordinal)];
        return ([.. entries.Select(entry => entry.Name)], [.. entries.SelectMany(file.ReadFinite)]);
    }

    private static JsonElement Case(string place) => JsonDocument.Parse(File.ReadAllText(Path.Combine(place, "case.json"))).RootElement;

    private static EncodedPair[] Pairs(JsonElement all) => [.. all.GetProperty("pairs").EnumerateArray().Select(pair =>
        new EncodedPair(TinyModels.Ids(pair.GetProperty("context")), TinyModels.Ids(pair.GetProperty("completion"))))];
}
