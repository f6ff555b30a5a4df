using System.Text.Json;
using System.Text.Json.Nodes;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Adapter directories that PEFT 0.17.1 wrote for a small LLaMA (data/golden), and what it computes of them in float64.</summary>
public sealed class LlamaPeftTests : IDisposable
{
    private static readonly string data = Path.Combine(AppContext.BaseDirectory, "data", "golden");

    private readonly CpuDevice device = new(2);
    private readonly LanguageModel model;
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public LlamaPeftTests() => model = LanguageModel.Load(Path.Combine(data, "llm", "llama-gqa"), device);

    public void Dispose()
    {
        model.Dispose();
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void A_LoRA_gives_PEFTs_logits_and_loss_and_is_written_as_it_was_read()
    {
        const string Weights = "adapter_model.safetensors";
        string place = Path.Combine(data, "llm", "llama-gqa");
        using LoadedAdapter adapter = PeftFiles.Load(Path.Combine(place, "peft-lora"), model);
        using (Safetensors expected = Safetensors.Open(Path.Combine(place, "expected.safetensors")))
        {
            float[] logits = expected.ReadFinite(expected.Get("peft-lora.logits.1"));
            OpCheck.Close(OpCheck.Wide(logits), model.Logits(Sequences(Case(place))[1], adapter), 2e-5);
            float loss = expected.ReadFinite(expected.Get("peft-lora.loss"))[0];
            Assert.Equal(loss, Evaluation.Loss(model, Pairs(Case(place)), adapter).Loss, 1e-5);
        }
        PeftFiles.Save(adapter, directory);
        using Safetensors theirs = Safetensors.Open(Path.Combine(place, "peft-lora", Weights));
        using Safetensors ours = Safetensors.Open(Path.Combine(directory, Weights));
        Assert.Equal(theirs.Entries.Select(e => e.Name).Order(), ours.Entries.Select(e => e.Name).Order());
        foreach (SafetensorsEntry entry in theirs.Entries)
        {
            Assert.Equal(entry.Shape, ours.Get(entry.Name).Shape);
            Assert.Equal(theirs.ReadFinite(entry), ours.ReadFinite(ours.Get(entry.Name)));
        }
    }

    [Fact]
    public void A_LoRA_of_other_ranks_and_alphas_in_some_modules_gives_PEFTs_logits_and_loss_after_any_file()
    {
        string place = Path.Combine(data, "peft-llama", "lora-rslora-pattern"), again = Path.Combine(directory, "again");
        JsonElement golden = Case(Path.Combine(data, "llm", "llama-gqa"));
        using Safetensors expected = Safetensors.Open(Path.Combine(place, "expected.safetensors"));
        using (LoadedAdapter adapter = PeftFiles.Load(place, model))
        {
            // rank_pattern's largest; the scales are in the factors.
            Assert.Equal((5, 1), (adapter.Options.Rank, adapter.Options.Scale));
            PeftFiles.Save(adapter, again);
        }
        foreach (string path in (string[])[place, again])
        {
            using LoadedAdapter loaded = PeftFiles.Load(path, model);
            double[] logits = OpCheck.Wide(expected.ReadFinite(expected.Get("logits.1")));
            OpCheck.Close(logits, model.Logits(Sequences(golden)[1], loaded), 2e-5);
            Assert.Equal(expected.ReadFinite(expected.Get("loss"))[0], Evaluation.Loss(model, Pairs(golden), loaded).Loss, 1e-5);
        }
    }

    [Theory]
    [InlineData("vera")]
    [InlineData("vera-key7")]
    public void VeRA_gives_PEFTs_logits_and_losses_after_any_file(string name)
    {
        string place = Path.Combine(data, "peft-llama"), given = Copy(name);
        string file = Path.Combine(directory, "a"), again = Path.Combine(directory, "again"), lora = Path.Combine(directory, "lora");
        using (TrainableAdapter adapter = Trainable(given))
        {
            AdapterFile.Save(adapter, file);
            PeftFiles.Save(adapter, again);
            PeftFiles.Save(adapter, lora, asLora: true);
        }
        JsonElement golden = Case(place), numbers = golden.GetProperty("cases").GetProperty(name).GetProperty("float64");
        double loss = numbers.GetProperty("loss").GetDouble();
        foreach (string path in (string[])[given, file, again, lora])
        {
            using LoadedAdapter loaded = AdapterFile.Load(path, model);
            Assert.Equal(loss, Evaluation.Loss(model, Pairs(golden), loaded).Loss, 1e-5);
            if (name != "vera") continue;
            using Safetensors expected = Safetensors.Open(Path.Combine(place, name, "expected.safetensors"));
            for (int i = 0; i < 2; i++)
            {
                double[] wanted = OpCheck.Wide(expected.ReadFinite(expected.Get($"logits.{i}")));
                OpCheck.Close(wanted, model.Logits(Sequences(golden)[i], loaded), 2e-5);
            }
        }
        using LoadedAdapter last = AdapterFile.Load(file, model);
        last.Merge();
        Assert.Equal(numbers.GetProperty("merged_loss").GetDouble(), Evaluation.Loss(model, Pairs(golden)).Loss, 1e-5);
    }

    [Theory]
    [InlineData("ia3")]
    [InlineData("vblora")]
    [InlineData("randlora")]
    [InlineData("lora-modules_to_save")]
    public void Other_methods_give_PEFTs_logits_losses_and_gradients_after_any_file(string name)
    {
        string place = Path.Combine(data, "peft-llama"), given = Path.Combine(place, name);
        string file = Path.Combine(directory, "a"), again = Path.Combine(directory, "again");
        JsonElement golden = Case(place), numbers = golden.GetProperty("cases").GetProperty(name).GetProperty("float64");
        using Safetensors expected = Safetensors.Open(Path.Combine(given, "expected.safetensors"));
        using (TrainableAdapter adapter = Trainable(given))
        {
            AdapterFile.Save(adapter, file);
            PeftFiles.Save(adapter, again);
            CheckGradients(expected, adapter, Pairs(golden));
        }
        foreach (string path in (string[])[given, file, again])
        {
            using LoadedAdapter loaded = AdapterFile.Load(path, model);
            Assert.Equal(numbers.GetProperty("loss").GetDouble(), Evaluation.Loss(model, Pairs(golden), loaded).Loss, 2e-5);
            for (int i = 0; i < 2; i++)
            {
                double[] wanted = OpCheck.Wide(expected.ReadFinite(expected.Get($"logits.{i}")));
                OpCheck.Close(wanted, model.Logits(Sequences(golden)[i], loaded), 5e-5);
            }
        }
        using LoadedAdapter last = AdapterFile.Load(file, model);
        last.Merge();
        Assert.Equal(numbers.GetProperty("merged_loss").GetDouble(), Evaluation.Loss(model, Pairs(golden)).Loss, 2e-5);
    }

    // The norm of all gradients, which PEFT has in other layouts.
    private void CheckGradients(Safetensors expected, TrainableAdapter adapter, EncodedPair[] pairs)
    {
        TokenStream stream = TokenStreams.FromPairs(pairs).With(adapter);
        using (StreamTensors batch = new(device, stream))
        using (Tape tape = new(device))
            tape.Backward(model.Loss(tape, batch, 0, 1f / stream.Targets.Length));
        adapter.CollectGradients();
        double wanted = expected.Entries.Where(entry => entry.Name.StartsWith("grad."))
            .Sum(entry => expected.ReadFinite(entry).Sum(value => (double)value * value));
        double own = adapter.Parameters.Sum(parameter => parameter.Gradient.ToArray().Sum(value => (double)value * value));
        Assert.Equal(1, own / wanted, 1e-4);
    }

    [Fact]
    public void A_module_that_the_file_lacks_is_named_as_PEFT_names_it()
    {
        string given = Copy("vera"), path = Path.Combine(given, "adapter_model.safetensors");
        AdapterFiles.Change(path, path, null, all => all.RemoveAll(t => t.Name.Contains("layers.1.self_attn.v_proj")));
        Assert.Contains(
            "has no vectors for model.layers.1.self_attn.v_proj, which target_modules",
            Assert.Throws<NolaException>(() => AdapterFile.Load(given, model)).Message);
    }

    private TrainableAdapter Trainable(string place)
    {
        using LoadedAdapter loaded = PeftFiles.Load(place, model);
        TrainableAdapter adapter = model.NewAdapter(loaded.Options);
        foreach ((Parameter to, Parameter from) in adapter.Parameters.Zip(loaded.Stacks.SelectMany(stack => stack.Parameters)))
            device.Upload(from.Value.ToArray(), to.Value);
        adapter.Update();
        return adapter;
    }

    // The case of another key has the same trained values and no projections in its file.
    private string Copy(string name)
    {
        const string Weights = "adapter_model.safetensors", Settings = "adapter_config.json";
        string place = Path.Combine(data, "peft-llama", "vera"), to = Directory.CreateDirectory(Path.Combine(directory, "given")).FullName;
        JsonObject config = JsonNode.Parse(File.ReadAllText(Path.Combine(place, Settings)))!.AsObject();
        if (name != "vera") (config["projection_prng_key"], config["save_projection"]) = (7, false);
        File.WriteAllText(Path.Combine(to, Settings), config.ToJsonString());
        AdapterFiles.Change(Path.Combine(place, Weights), Path.Combine(to, Weights), null, all =>
        {
            if (name != "vera") all.RemoveAll(t => t.Name is "base_model.vera_A" or "base_model.vera_B");
        });
        return to;
    }

    private static JsonElement Case(string place) => JsonDocument.Parse(File.ReadAllText(Path.Combine(place, "case.json"))).RootElement;

    private static int[][] Sequences(JsonElement golden) => [.. golden.GetProperty("sequences").EnumerateArray().Select(TinyModels.Ids)];

    private static EncodedPair[] Pairs(JsonElement golden) => [.. golden.GetProperty("pairs").EnumerateArray().Select(pair =>
        new EncodedPair(TinyModels.Ids(pair.GetProperty("context")), TinyModels.Ids(pair.GetProperty("completion"))))];
}
