using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Methods on the CPU, and what they have in common on whole models.</summary>
public sealed class AdapterMethodTests() : AdapterMethodContract(new CpuDevice(2)), IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public static TheoryData<string> Names => ["fourierft", "ia3", "vblora", "randlora"];

    public void Dispose()
    {
        Device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void What_has_no_effect_gives_the_base_models_output(string name)
    {
        using LanguageModel model = TinyModels.Create(Device);
        int[] ids = TinyModels.Ids(new Random(2), 20, 61);
        using TrainableAdapter adapter = model.NewAdapter(Options(name));
        if (name == "vblora") Device.Fill(adapter.Parameters[0].Value, 0);
        adapter.Update();
        Assert.Equal(model.Logits(ids), model.Logits(ids, adapter));
        TinyModels.Randomize(adapter, new Random(1));
        Assert.NotEqual(model.Logits(ids), model.Logits(ids, adapter));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Saved_read_exported_and_merged_it_gives_the_same(string name)
    {
        using LanguageModel model = TinyModels.Create(Device);
        int[] ids = TinyModels.Ids(new Random(2), 20, 61);
        string file = Path.Combine(directory, "a"), again = Path.Combine(directory, "b"), peft = Path.Combine(directory, "peft");
        AdapterOptions options = Options(name) with { Targets = ["c_attn", "mlp.c_proj"] };
        float[] with;
        using (TrainableAdapter adapter = model.NewAdapter(options))
        {
            TinyModels.Randomize(adapter, new Random(1));
            with = model.Logits(ids, adapter);
            AdapterFile.Save(adapter, file);
        }
        using (TrainableAdapter read = AdapterFile.LoadTrainable(file, model)) AdapterFile.Save(read, again);
        Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(again));
        using (LoadedAdapter read = AdapterFile.Load(file, model))
        {
            Assert.Equal(with, model.Logits(ids, read));
            PeftFiles.Save(read, peft);
        }
        using LoadedAdapter theirs = PeftFiles.Load(peft, model);
        Assert.Equal(with, model.Logits(ids, theirs));
        theirs.Merge();
        OpCheck.Close(OpCheck.Wide(with), model.Logits(ids), 1e-4);
    }

    // IA3 can say little with the queries and values of two layers.
    [Theory]
    [InlineData("fourierft", 0.05)]
    [InlineData("ia3", 0.004)]
    [InlineData("vblora", 0.05)]
    [InlineData("randlora", 0.05)]
    public void It_is_trained_on_queries_and_values_alone_and_resumed_bit_for_bit(string name, double least)
    {
        EncodedPair[] pairs =
            [.. TinyModels.Pairs(new Random(1), 60, 61).Select(p => p with { Completion = [.. p.Completion.Select(id => id % 4)] })];
        using LanguageModel model = TinyModels.Create(Device);
        TrainOptions options = new() { MaxSteps = 16, BatchTokens = 80, LearningRate = 0.05f, EvalEvery = 8, EvalPairs = 0 };
        byte[] whole = Trained("whole", 16), parts = Trained("parts", 7);
        Assert.Equal(whole, parts);

        byte[] Trained(string place, int first)
        {
            string path = Path.Combine(directory, place);
            TrainResult result = Run(path, first, resume: false);
            if (first < 16) result = Run(path, 16, resume: true);
            Assert.True(result.LastLoss < result.FirstLoss - least, $"{result.FirstLoss} → {result.LastLoss}");
            return File.ReadAllBytes(Path.Combine(path, "adapter.safetensors"));
        }

        TrainResult Run(string path, int stop, bool resume)
        {
            using TrainableAdapter adapter = model.NewAdapter(Options(name) with { Targets = ["q", "v"] });
            using RunDirectory run = new(path, resume);
            using CancellationTokenSource cancel = new();
            Trainer trainer = new(model, adapter, options, run, new StopAt(stop, cancel));
            if (stop == 16) return trainer.Run(pairs, pairs, resume, cancel.Token);
            Assert.Throws<OperationCanceledException>(() => trainer.Run(pairs, pairs, resume, cancel.Token));
            return trainer.Result!;
        }
    }

    [Theory]
    [InlineData("fourierft", "PEFT's FourierFT is on whole modules, and h.0.attn.q is a part of one; save it as a Nola adapter file")]
    [InlineData("ia3", "PEFT's IA3 is on whole modules, and h.0.attn.q is a part of one")]
    [InlineData("randlora", "PEFT's RandLoRA is on whole modules, and h.0.attn.q is a part of one")]
    public void What_PEFT_cannot_express_is_refused(string name, string expected)
    {
        using LanguageModel model = TinyModels.Create(Device);
        using TrainableAdapter adapter = model.NewAdapter(Options(name) with { Targets = ["q", "v"] });
        Assert.Contains(expected, Assert.Throws<NolaException>(() => PeftFiles.Save(adapter, directory)).Message);
        Assert.Contains(
            "is not a low-rank product", Assert.Throws<NolaException>(() => PeftFiles.Save(adapter, directory, asLora: true)).Message);
    }

    [Fact]
    public void VB_LoRA_on_a_part_of_a_module_is_written_as_the_equal_LoRA()
    {
        using LanguageModel model = TinyModels.Create(Device);
        int[] ids = TinyModels.Ids(new Random(2), 20, 61);
        using TrainableAdapter adapter = model.NewAdapter(Options("vblora") with { Targets = ["q", "v"] });
        TinyModels.Randomize(adapter, new Random(1));
        PeftFiles.Save(adapter, directory);
        using LoadedAdapter read = PeftFiles.Load(directory, model);
        Assert.Equal("lora", read.Options.Method.Name);
        OpCheck.Close(OpCheck.Wide(model.Logits(ids, adapter)), model.Logits(ids, read), 1e-5);
    }

    [Fact]
    public void What_is_common_to_all_maps_is_held_once()
    {
        using LanguageModel model = TinyModels.Create(Device);
        using TrainableAdapter bank = model.NewAdapter(Options("vblora") with { Targets = ["*"] });
        Assert.Single(bank.Parameters, parameter => parameter.Name == "vector_bank");
        using TrainableAdapter bases = model.NewAdapter(Options("randlora") with { Targets = ["c_attn", "c_proj", "c_fc"] });
        Assert.Single(bases.Stacks.Cast<RandLoraMethod.Stack>().Select(stack => stack.Bases).Distinct());
        long live = Device.Pool.LiveBytes;
        using (LoadedAdapter loaded = PeftFiles.Load(Saved(bases), model))
        {
            // Only the weights remain, and what was trained.
            long kept = loaded.Stacks.Cast<WeightStack>().Sum(stack =>
                stack.Weight.Value.Bytes + stack.Parameters.Sum(parameter => parameter.Value.Bytes));
            Assert.InRange(Device.Pool.LiveBytes - live, kept, kept + kept / 4);
        }
        Assert.Equal(live, Device.Pool.LiveBytes);
    }

    [Theory]
    [MemberData(nameof(Refusals))]
    public void Settings_that_do_not_fit_are_named(AdapterOptions options, string expected)
    {
        using LanguageModel model = TinyModels.Create(Device);
        long live = Device.Pool.LiveBytes;
        Assert.Equal(expected, Assert.Throws<NolaException>(() => model.NewAdapter(options)).Message);
        Assert.Equal(live, Device.Pool.LiveBytes);
    }

    public static TheoryData<AdapterOptions, string> Refusals => new()
    {
        { new FourierFtOptions { Frequencies = 577 }, "frequencies is 577; expected 1 to 576, the number of entries of attn.q." },
        { new FourierFtOptions { Frequencies = 0 }, "frequencies is 0; expected 1 to 576, the number of entries of attn.q." },
        { new FourierFtOptions { Frequencies = 5, Scaling = -1 }, "scaling is -1; expected a finite number above 0." },
        {
            new FourierFtOptions { Frequencies = 5, Seed = 1L << 32 },
            "basis-seed is 4294967296; FourierFT's generator reads 32 bits, so expected 0 to 4294967295."
        },
        {
            new FourierFtOptions { Frequencies = 5, Targets = ["wte"] },
            "targets: FourierFT cannot be on wte, a token embedding, as PEFT's cannot; leave it out, or use LoRA or NOLA."
        },
        {
            new Ia3Options { Targets = ["k", "lm_head"], FeedForward = [] },
            "targets: IA3 cannot be on lm_head, a table of tokens; leave it out, or use LoRA or NOLA."
        },
        {
            new Ia3Options { Targets = ["k"], FeedForward = ["k"] },
            "feedforward: attn.k shares its inputs with other maps, which would be multiplied too; leave it out of feedforward."
        },
        {
            new Ia3Options { Targets = ["c_fc"], FeedForward = ["h.1.*"] },
            "feedforward: names mlp.c_fc of some adapted layers and not of all; name all of them, or none."
        },
        {
            new VbLoraOptions { VectorLength = 7, Rank = 2 },
            "vector-length is 7; it must divide the 24 inputs and the 24 outputs of attn.q."
        },
        { new VbLoraOptions { VectorLength = 8, Vectors = 4, TopK = 5, Rank = 2 }, "topk is 5; expected 1 to 4, the number of vectors." },
        { new VbLoraOptions { VectorLength = 8, BankRate = 0, Rank = 2 }, "bank-rate is 0; expected a finite number above 0." },
        {
            new RandLoraOptions { Rank = 25 },
            "rank is 25; expected 1 to 24, the smaller of the adapted maps' most inputs and most outputs."
        },
        {
            new RandLoraOptions { Rank = 3, Seed = 1L << 32 },
            "basis-seed is 4294967296; RandLoRA's generator reads 32 bits, so expected 0 to 4294967295."
        },
    };

    private string Saved(Adapter adapter)
    {
        string path = Path.Combine(directory, "saved");
        PeftFiles.Save(adapter, path);
        return path;
    }

    // So that the first output is the base model's, where the method can.
    private static AdapterOptions Options(string name) => name switch
    {
        "fourierft" => new FourierFtOptions { Frequencies = 40, Start = FourierFtStart.Zero, Scaling = 60 },
        "ia3" => new Ia3Options { FeedForward = [] },
        "vblora" => new VbLoraOptions { Rank = 3, Vectors = 10, VectorLength = 8, BankBound = 0.5f, BankRate = 1 },
        _ => new RandLoraOptions { Rank = 5, Alpha = 5 },
    };

    // Cancels after a step.
    private sealed class StopAt(int step, CancellationTokenSource stop) : ITrainObserver
    {
        public void OnStep(StepReport report)
        {
            if (report.Step == step) stop.Cancel();
        }
    }
}
