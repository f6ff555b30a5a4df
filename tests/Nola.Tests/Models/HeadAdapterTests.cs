using System.Text.Json.Nodes;
using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Language-model heads that an adapter has in place of the model's, PEFT's <c>modules_to_save: ["lm_head"]</c>. PEFT's golden values of
/// them are in PeftMethodTests and LlamaPeftTests, and what mixed batches and memory need in MixedBatchTests and AdapterMemoryTests.
/// </summary>
public sealed class HeadAdapterTests : IDisposable
{
    private const string Head = "lm_head.weight";

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    // Every method that PEFT has, on whole modules, and NOLA.
    public static TheoryData<string> Methods => ["nola", "lora", "vera", "uni-lora", "fourierft", "ia3", "vblora", "randlora", "head"];

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Property(MaxTest = 20)]
    public void Logits_losses_and_gradients_are_those_of_a_model_whose_head_it_is(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = Create(tied: r.Next(2) == 0, trainable: r.Next(4) == 0);
        // What it adds to the blocks is nothing yet.
        using TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 2, Targets = ["q"], TrainHead = true });
        Parameter own = Assert.Single(adapter.HeadParameters);
        Assert.Equal((Head, 61 * 24), (own.Name, own.Shape.Length));
        int[] ids = TinyModels.Ids(r, 12, 61);
        // Not of the same kernel, whose sums may be of another order.
        OpCheck.Close(OpCheck.Wide(model.Logits(ids)), model.Logits(ids, adapter), 1e-5);
        float[] values = OpCheck.Values(r, own.Shape.Length, 0.5);
        device.Upload(values, own.Value);
        using LanguageModel reference = Create(tied: false, trainable: true);
        Dictionary<string, float[]> weights = model.Weights().ToDictionary(w => w.Name, w => w.Values());
        weights[Head] = values;
        foreach (Parameter parameter in reference.Parameters) device.Upload(weights[parameter.Name], parameter.Value);
        OpCheck.Close(OpCheck.Wide(reference.Logits(ids)), model.Logits(ids, adapter), 1e-5);

        TokenStream stream = TokenStreams.FromPairs(TinyModels.Pairs(r, 5, 61));
        double wanted = Backward(reference, stream), loss = Backward(model, stream.With(adapter));
        Assert.Equal(wanted, loss, 1e-5 * Math.Max(1, wanted));
        Parameter theirs = reference.Parameters.First(parameter => parameter.Name == Head);
        OpCheck.Close(OpCheck.Wide(theirs.Gradient.ToArray()), own.Gradient.ToArray(), 1e-5);
        // The factors' gradients come through it: B's is not zero at the beginning.
        Assert.Contains(adapter.Parameters[1].Gradient.ToArray(), value => value != 0);
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void Saved_read_packed_exported_and_merged_it_gives_the_same(string method)
    {
        Random r = new(7);
        using LanguageModel model = Create(tied: true, trainable: false);
        int[] ids = TinyModels.Ids(r, 12, 61);
        string file = Path.Combine(directory, "a"), packed = Path.Combine(directory, "a8"), again = Path.Combine(directory, "b");
        string peft = Path.Combine(directory, "peft");
        float[] with, head;
        using (TrainableAdapter adapter = model.NewAdapter(Options(method)))
        {
            TinyModels.Randomize(adapter, r, 0.3);
            (with, head) = (model.Logits(ids, adapter), adapter.HeadParameters[0].Value.ToArray());
            AdapterFile.Save(adapter, file);
            if (method != "head") PeftFiles.Save(adapter, peft);
        }
        using (TrainableAdapter read = AdapterFile.LoadTrainable(file, model)) AdapterFile.Save(read, again);
        Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(again));
        using (Safetensors written = Safetensors.Open(file))
        {
            Assert.DoesNotContain("labels", written.Metadata.Keys);
            Assert.Equal(head, written.ReadFinite(written.Get(Head)));
        }
        if (method != "head")
        {
            AdapterQuantization.Quantize(file, 8, packed);
            // What is packed is never the head.
            using (Safetensors written = Safetensors.Open(packed)) Assert.Equal(head, written.ReadFinite(written.Get(Head)));
            using (LoadedAdapter rounded = AdapterFile.Load(packed, model))
                OpCheck.Close(OpCheck.Wide(with), model.Logits(ids, rounded), 0.1);
            JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(peft, "adapter_config.json")))!;
            Assert.Equal(["lm_head"], config["modules_to_save"]!.AsArray().Select(name => (string)name!));
            using (Safetensors theirs = Safetensors.Open(Path.Combine(peft, "adapter_model.safetensors")))
                Assert.Equal(head, theirs.ReadFinite(theirs.Get("base_model.model." + Head)));
            using LoadedAdapter exported = AdapterFile.Load(peft, model);
            OpCheck.Close(OpCheck.Wide(with), model.Logits(ids, exported), 2e-5);
        }
        using LoadedAdapter loaded = AdapterFile.Load(file, model);
        Assert.Equal(with, model.Logits(ids, loaded));
        float[] table = Values(model, "wte.weight");
        loaded.Merge();
        OpCheck.Close(OpCheck.Wide(with), model.Logits(ids), 5e-5);
        Assert.Null(model.Config.Tied);
        Assert.Equal(table, Values(model, "wte.weight"));
        Assert.Equal(head, Values(model, Head));
    }

    [Property(MaxTest = 10)]
    public void Decoding_with_a_cache_chooses_the_tokens_of_whole_passes(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = Create(tied: r.Next(2) == 0, trainable: false);
        using TrainableAdapter adapter = model.NewAdapter(Options("nola"));
        TinyModels.Randomize(adapter, r);
        List<int> ids = [.. TinyModels.Ids(r, 1 + r.Next(9), 61)];
        int[] cached = model.Generate([.. ids], adapter, new() { MaxNewTokens = 12, StopTokens = [] });
        foreach (int token in cached)
        {
            float[] last = model.Logits(ids.ToArray(), adapter)[^61..];
            // Sums of another order may choose the other of two that are as likely.
            Assert.True(last[token] >= last.Max() - 1e-5f * (1 + Math.Abs(last.Max())));
            ids.Add(token);
        }
    }

    [Theory]
    [InlineData("nola")]
    [InlineData("head")]
    public void It_learns_to_the_same_bits_each_time(string method)
    {
        EncodedPair[] pairs = TinyModels.Pairs(new Random(1), 30, 61);
        using LanguageModel model = Create(tied: true, trainable: false);
        TrainOptions options = new() { MaxSteps = 20, BatchTokens = 100, LearningRate = 0.01f, HeadLearningRate = 0.02f, EvalPairs = 0 };
        using TrainableAdapter adapter = model.NewAdapter(Options(method));
        double before = Evaluation.Loss(model, pairs, adapter).Loss;
        new Trainer(model, adapter, options).Run(pairs, []);
        Assert.True(Evaluation.Loss(model, pairs, adapter).Loss < before - 0.2);
        string whole = Path.Combine(directory, "whole"), parts = Path.Combine(directory, "parts");
        foreach (string path in (string[])[whole, parts])
        {
            using TrainableAdapter again = model.NewAdapter(Options(method));
            new Trainer(model, again, options).Run(pairs, []);
            AdapterFile.Save(again, path);
        }
        Assert.Equal(File.ReadAllBytes(whole), File.ReadAllBytes(parts));
    }

    [Fact]
    public void What_cannot_be_is_refused()
    {
        using LanguageModel model = Create(tied: true, trainable: false);
        Assert.Equal(
            "train-head is true, and targets name lm_head, which would be trained as a whole and adapted; choose one of the two.",
            Refused(() => model.NewAdapter(new LoraOptions { Targets = ["q", "lm_head"], TrainHead = true })));
        string file = Path.Combine(directory, "a"), peft = Path.Combine(directory, "peft");
        using (TrainableAdapter adapter = model.NewAdapter(Options("lora")))
        {
            AdapterFile.Save(adapter, file);
            PeftFiles.Save(adapter, peft);
        }
        string labeled = Path.Combine(directory, "labeled");
        AdapterFiles.Change(file, labeled, data => data["labels"] = "[\"a\",\"b\"]", _ => { });
        Assert.Contains("its classifier is for 2 classes", Refused(() => AdapterFile.Load(labeled, model)));
        string config = Path.Combine(peft, "adapter_config.json"), text = File.ReadAllText(config);
        File.WriteAllText(config, text.Replace("modules_to_save", "exclude_modules"));
        Assert.Contains(
            "has lm_head.weight of lm_head.weight, and modules_to_save of ", Refused(() => AdapterFile.Load(peft, model)));
        File.WriteAllText(config, text.Replace("\"lm_head\"", "\"wte\""));
        Assert.Contains("expected lm_head alone, the heads of this model", Refused(() => AdapterFile.Load(peft, model)));
        File.WriteAllText(config, text);
        using LanguageModel wider = LanguageModel.Create(new Gpt2Config(2, 3, 24, 62, 40), device, 3, trainable: false);
        Assert.Contains("has shape [61, 24]; this model's heads need [62, 24]", Refused(() => AdapterFile.Load(peft, wider)));

        static string Refused(Action action) => Assert.Throws<NolaException>(action).Message;
    }

    private LanguageModel Create(bool tied, bool trainable) =>
        LanguageModel.Create(new Gpt2Config(2, 3, 24, 61, 40) { TiedHead = tied }, device, 3, trainable);

    private static AdapterOptions Options(string method)
    {
        AdapterOptions options = method switch
        {
            "nola" => new NolaOptions { Rank = 2, Bases = 20 },
            "lora" => new LoraOptions { Rank = 2 },
            "vera" => new VeraOptions { Rank = 5 },
            "uni-lora" => new UniLoraOptions { Length = 40 },
            "fourierft" => new FourierFtOptions { Frequencies = 9, Scaling = 20 },
            "ia3" => new Ia3Options(),
            "vblora" => new VbLoraOptions { Rank = 2, Vectors = 10, VectorLength = 8 },
            "randlora" => new RandLoraOptions { Rank = 5 },
            _ => new HeadOptions(),
        };
        return options with { TrainHead = true, Targets = ["c_attn", "mlp.c_proj"] };
    }

    private static float[] Values(LanguageModel model, string name) => model.Weights().First(weight => weight.Name == name).Values();

    private double Backward(LanguageModel model, TokenStream stream)
    {
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device);
        Variable loss = model.Loss(tape, batch, 0.1f, 1f / stream.Targets.Length);
        tape.Backward(loss);
        return loss.Value.Item();
    }
}
