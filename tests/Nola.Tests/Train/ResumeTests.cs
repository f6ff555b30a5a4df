using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>What may be resumed: the same run, from a state that can be, to the same end or on purpose to a later one.</summary>
public sealed class ResumeTests : IDisposable
{
    private static readonly TrainOptions options = new()
    {
        MaxSteps = 6,
        BatchTokens = 60,
        LearningRate = 0.02f,
        WarmupSteps = 2,
        EvalEvery = 2,
        EvalPairs = 0,
    };
    private static readonly NolaOptions nola = new() { Rank = 4, Bases = 20, Alpha = 16, Targets = ["q", "v"] };

    private readonly CpuDevice device = new(1);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly EncodedPair[] pairs = TinyModels.Pairs(new Random(1), 40, 61);

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    public static TheoryData<string, string> Differences => new()
    {
        { "basis-seed", "basis-seed was 42, is 777" },
        { "entries", "entries was uniform, is sign" },
        { "variant", "variant was offset, is paper" },
        { "sharing", "sharing was shared, is per-layer" },
        { "targets", "targets was q,v, is q,k" },
        { "bases", "bases-a was 20, is 10" },
        { "rank", "rank was 4, is 2" },
        { "alpha", "alpha was 16, is 8" },
        { "bits", "quantize-bits was 0, is 4" },
        { "method", "method was nola, is lora" },
        { "data", "data was one (digest " },
        { "order", "data was one (digest " },
        { "valid", "valid was none (digest " },
        { "lr", "lr was 0.02, is 0.01" },
        { "seed", "; seed was 42, is 3" },
        { "model", "model was new (digest " },
        { "storage", "storage was float32, is bfloat16" },
        { "codes", "storage was float32, is nf4-double" },
        { "fact", "basis-seed was 42, is 5" },
    };

    [Theory]
    [MemberData(nameof(Differences))]
    public void Another_run_is_refused_in_words_before_anything_is_changed(string what, string complaint)
    {
        Train(new NolaAdapterOf(nola), options, pairs, resume: false);
        Dictionary<string, byte[]> before = Files();
        NolaOptions other = what switch
        {
            "basis-seed" => nola with { Seed = 777 },
            "entries" => nola with { Entries = BasisEntries.Sign },
            "variant" => nola with { Variant = NolaVariant.Paper },
            "sharing" => nola with { PerLayer = true },
            "targets" => nola with { Targets = ["q", "k"] },
            "bases" => nola with { Bases = 10 },
            "rank" => nola with { Rank = 2 },
            "alpha" => nola with { Alpha = 8 },
            "bits" => nola with { QuantizeBits = 4 },
            _ => nola,
        };
        EncodedPair[] data = what switch
        {
            "data" => TinyModels.Pairs(new Random(2), 40, 61),
            "order" => [.. pairs.Reverse()],
            _ => pairs,
        };
        TrainOptions loop = what switch
        {
            "lr" => options with { LearningRate = 0.01f },
            "seed" => options with { Seed = 3, Patience = 1 },
            _ => options,
        };
        RunSource source = what == "fact"
            ? new() { Settings = new Dictionary<string, string> { ["basis-seed"] = "5" } }
            : new() { Data = "two" };
        string error = Assert.Throws<NolaException>(() =>
            Train(
                new NolaAdapterOf(other, Lora: what == "method"), loop, data, resume: true, source,
                what == "valid" ? pairs[..20] : pairs, what is "model" or "storage" or "codes" ? what : "")).Message;
        Assert.Contains(complaint, error);
        if (what == "data") Assert.Matches("data was one \\(digest [0-9a-f]{8}\\), is two \\(digest [0-9a-f]{8}\\)", error);
        Assert.Contains("begun with other settings", error);
        Assert.Equal(before, Files());
    }

    [Fact]
    public void The_same_sequences_under_another_name_are_the_same_run()
    {
        Train(new NolaAdapterOf(nola), options with { MaxSteps = 3 }, pairs, resume: false);
        TrainResult result = Train(
            new NolaAdapterOf(nola), options with { MaxSteps = 3 }, pairs, resume: true, new RunSource { Data = "moved" });
        Assert.Equal((TrainOutcome.Finished, 3), (result.Outcome, result.Steps));
    }

    [Fact]
    public void A_finished_run_is_continued_on_purpose_and_in_words_and_bit_for_bit()
    {
        List<string> notices = [];
        string once = Path.Combine(directory, "once"), twice = Path.Combine(directory, "twice");
        byte[] whole = Run(once, stop: false), parts = Run(twice, stop: true);
        Assert.Equal(whole, parts);
        // The schedule's line now ends at step 12: warm-up 2, and 6 of the 10 steps after it are left.
        Assert.Equal("Continuing from step 6 to step 12 (was 6). "
            + "The linear schedule is drawn to the new last step, so that the learning rate continues at 0.012.", notices[0]);

        byte[] Run(string path, bool stop)
        {
            Assert.Equal(6, Train(new NolaAdapterOf(nola), options, pairs, resume: false, path: path).Steps);
            notices.Clear();
            Notices told = new(notices, stop ? 9 : 0);
            TrainResult result = Train(
                new NolaAdapterOf(nola), options with { MaxSteps = 12 }, pairs, resume: true, path: path, observer: told);
            Assert.Equal(stop ? 9 : 12, result.Steps);
            if (stop)
            {
                // It is the continued run that was interrupted: nothing is said of it again.
                Notices silent = new([], 0);
                Assert.Equal(
                    12, Train(
                        new NolaAdapterOf(nola), options with { MaxSteps = 12 }, pairs, resume: true, path: path, observer: silent).Steps);
                Assert.Empty(silent.Said);
            }
            using Safetensors state = Safetensors.Open(Path.Combine(path, "last.safetensors"));
            return [.. state.Entries.SelectMany(entry => state.Bytes(entry).ToArray())];
        }
    }

    [Fact]
    public void A_run_cannot_end_before_the_step_that_it_is_at()
    {
        Train(new NolaAdapterOf(nola), options, pairs, resume: false);
        Dictionary<string, byte[]> before = Files();
        Assert.Contains(
            "is at step 6 already, and 4 are asked for",
            Assert.Throws<NolaException>(() => Train(new NolaAdapterOf(nola), options with { MaxSteps = 4 }, pairs, resume: true)).Message);
        Assert.Equal(before, Files());
    }

    [Fact]
    public void Steps_are_not_cut_short_by_epochs_that_were_not_given()
    {
        EncodedPair[] one = pairs[..3];
        Assert.Equal(5, Steps(new() { MaxSteps = 5 }));
        Assert.Equal(1, Steps(new()));
        Assert.Equal(2, Steps(new() { MaxSteps = 5, Epochs = 2 }));
        Assert.Equal(5, Steps(new() { MaxSteps = 5, Epochs = 20 }));
        Assert.Equal(3, Steps(new() { Epochs = 3 }));

        int Steps(TrainOptions loop)
        {
            using LanguageModel model = TinyModels.Create(device);
            using TrainableAdapter adapter = model.NewAdapter(nola);
            return new Trainer(model, adapter, loop).Run(one, []).Steps;
        }
    }

    [Theory]
    [InlineData("step", "NaN", "its 'step' is 'NaN' where a whole number")]
    [InlineData("step", "2147483648", "its 'step' is '2147483648'")]
    [InlineData("step", null, "it has no 'step'")]
    [InlineData("step", "2147483647", "its 'total' is '6' where 2147483647 is expected")]
    [InlineData("batch", "-7", "its 'batch' is '-7' where a whole number from 0")]
    [InlineData("batch", "99999", "its 'batch' is '99999'")]
    [InlineData("epoch", "x", "its 'epoch' is 'x'")]
    [InlineData("epoch", "1e9", "its 'epoch' is '1e9'")]
    [InlineData("epoch", "1000000", "its 'epoch' is '1000000'")]
    [InlineData("optimizer_steps", "7", "its 'optimizer_steps' is '7' where 6")]
    [InlineData("tokens", "1,000", "its 'tokens' is '1,000'")]
    [InlineData(
        "tokens", "9223372036854775807", "its 'tokens' is '9223372036854775807' where a whole number from 0 to 4611686018427387903")]
    [InlineData("seconds", "Infinity", "its 'seconds' is 'Infinity'")]
    [InlineData("seconds", "1e300", "its 'seconds' is '1e300' where a number from 0 to 100000000000 is expected")]
    [InlineData("best_loss", "NaN", "its 'best_loss' is 'NaN' where a number from 0")]
    [InlineData("last_loss", "-1", "its 'last_loss' is '-1'")]
    [InlineData("best_step", "7", "its 'best_step' is '7'")]
    [InlineData("waited", null, "it has no 'waited'")]
    [InlineData("waited", "2147483647", "its 'waited' is '2147483647' where a whole number from 0 to 1073741823")]
    [InlineData("total", "5", "its 'total' is '5'")]
    [InlineData("format", "nola-train-state/1", "a training state of another version (nola-train-state/1;")]
    [InlineData("format", null, "not a training state")]
    [InlineData("run.seed", null, "seed was not set, is 42")]
    public void A_state_that_cannot_be_gives_one_sentence(string key, string? value, string complaint)
    {
        Train(new NolaAdapterOf(nola), options, pairs, resume: false);
        Rewrite(metadata =>
        {
            if (value is null) metadata.Remove(key);
            else metadata[key] = value;
        });
        Refused(complaint);
    }

    [Fact]
    public void A_place_in_the_data_that_is_not_there_is_refused()
    {
        TrainOptions large = options with { BatchTokens = 200 };
        Train(new NolaAdapterOf(nola), large, pairs, resume: false);
        Rewrite(metadata => metadata["batch"] = "5");
        Assert.Contains(
            "its 'batch' is 5 and the epoch has",
            Assert.Throws<NolaException>(() => Train(new NolaAdapterOf(nola), large, pairs, resume: true)).Message);
    }

    [Theory]
    [InlineData("p.attn.q.A", float.NaN, "'p.attn.q.A' has a value that is not a finite number")]
    [InlineData("m.attn.q.A", float.PositiveInfinity, "'m.attn.q.A' has a value that is not a finite number")]
    [InlineData("v.attn.q.A", -1f, "'v.attn.q.A', a mean of squares, has a negative value")]
    public void A_value_that_cannot_be_names_its_tensor(string name, float value, string complaint)
    {
        Train(new NolaAdapterOf(nola), options, pairs, resume: false);
        Rewrite(_ => { }, (tensor, values) => values[^1] = tensor == name ? value : values[^1]);
        Refused(complaint);
    }

    [Fact]
    public void A_tensor_of_another_shape_is_refused_though_its_size_fits()
    {
        Train(new NolaAdapterOf(nola), options, pairs, resume: false);
        Rewrite(_ => { }, reshape: name => name == "p.attn.q.A");
        Refused("'p.attn.q.A' has shape [20, 2]");
    }

    [Fact]
    public void A_run_that_stopped_early_stays_so_until_more_is_asked_of_it()
    {
        EncodedPair[] held = TinyModels.Pairs(new Random(99), 20, 61);
        TrainOptions wild = options with { MaxSteps = 100, EvalEvery = 3, Patience = 2, LearningRate = 5 };
        TrainResult first = Train(new NolaAdapterOf(nola), wild, pairs, resume: false, held: held);
        Assert.Equal(TrainOutcome.StoppedEarly, first.Outcome);
        TrainResult again = Train(new NolaAdapterOf(nola), wild, pairs, resume: true, held: held);
        Assert.Equal((TrainOutcome.StoppedEarly, first.Steps), (again.Outcome, again.Steps));
        Assert.True(Train(new NolaAdapterOf(nola), wild with { MaxSteps = 101 }, pairs, resume: true, held: held).Steps > first.Steps);
    }

    [Fact]
    public void An_adapter_of_an_earlier_run_is_not_taken_for_the_best_of_this_one()
    {
        string adapter = Path.Combine(directory, "run", "adapter.safetensors");
        Directory.CreateDirectory(Path.GetDirectoryName(adapter)!);
        File.WriteAllText(adapter, "of a run that was killed before its first checkpoint");
        // What is learned is wrong for every validation pair, so that there is no best after the start.
        EncodedPair[] ones = [.. pairs.Select(p => p with { Completion = [1, 1, 1] })];
        EncodedPair[] twos = [.. pairs.Select(p => p with { Completion = [2, 2, 2] })];
        TrainResult result = Train(new NolaAdapterOf(nola), options, ones, resume: false, held: twos);
        Assert.Equal(0, result.BestStep);
        using Safetensors file = Safetensors.Open(adapter);
        Assert.NotEmpty(file.Entries);
    }

    [Fact]
    public void Resuming_needs_a_directory_that_was_opened_for_it()
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(nola);
        Assert.Contains(
            "no run directory to resume from",
            Assert.Throws<NolaException>(() => new Trainer(model, adapter, options).Run(pairs, [], resume: true)).Message);
        using RunDirectory run = new(Path.Combine(directory, "run"));
        Assert.Contains(
            "opened for a new run",
            Assert.Throws<NolaException>(() => new Trainer(model, adapter, options, run).Run(pairs, [], resume: true)).Message);
    }

    private void Refused(string complaint)
    {
        Dictionary<string, byte[]> before = Files();
        string error = Assert.Throws<NolaException>(() => Train(new NolaAdapterOf(nola), options, pairs, resume: true)).Message;
        Assert.Contains(complaint, error);
        Assert.Contains("last.safetensors", error);
        Assert.Equal(before, Files());
    }

    private void Rewrite(
        Action<Dictionary<string, string>> metadata, Action<string, float[]>? values = null, Func<string, bool>? reshape = null)
    {
        string path = Path.Combine(directory, "run", "last.safetensors");
        Dictionary<string, string> data;
        List<SafetensorsTensor> tensors = [];
        using (Safetensors file = Safetensors.Open(path))
        {
            data = new(file.Metadata);
            foreach (SafetensorsEntry entry in file.Entries)
            {
                float[] read = new float[entry.Length];
                file.ReadFloats(entry, read);
                values?.Invoke(entry.Name, read);
                int[] shape = [.. entry.Shape.Select(d => (int)d)];
                if (reshape?.Invoke(entry.Name) == true) Array.Reverse(shape);
                tensors.Add(new SafetensorsTensor(entry.Name, Shape.Create(shape), read));
            }
        }
        metadata(data);
        SafetensorsWriter.Write(path, tensors, data);
    }

    // Everything of the run but who has it.
    private Dictionary<string, byte[]> Files() => Directory.GetFiles(directory, "*", SearchOption.AllDirectories)
        .Where(file => !Path.GetFileName(file).StartsWith(".running", StringComparison.Ordinal))
        .ToDictionary(file => file, File.ReadAllBytes);

    private TrainResult Train(
        NolaAdapterOf attach, TrainOptions loop, EncodedPair[] data, bool resume, RunSource? source = null,
        EncodedPair[]? held = null, string other = "", string? path = null, Notices? observer = null)
    {
        WeightFormat storage = other == "codes" ? WeightFormat.Nf4Double : WeightFormat.BFloat16;
        using LanguageModel model = other is "storage" or "codes"
            ? LanguageModel.Create(new Gpt2Config(2, 3, 24, 61, 40), device, 3, trainable: false, storage)
            : TinyModels.Create(device, vocabulary: other == "model" ? 62 : 61);
        using TrainableAdapter adapter = attach.On(model);
        using RunDirectory run = new(path ?? Path.Combine(directory, "run"), resume);
        run.WriteConfig(resume ? "{ \"is\": \"changed\" }" : "{}");
        Trainer trainer = new(model, adapter, loop, run, observer ?? new([], 0)) { Source = source ?? new RunSource { Data = "one" } };
        if (observer is not { StopAfter: > 0 }) return trainer.Run(data, held ?? pairs, resume);
        Assert.Throws<OperationCanceledException>(() => trainer.Run(data, held ?? pairs, resume, observer.Stop.Token));
        return trainer.Result!;
    }

    private sealed record NolaAdapterOf(NolaOptions Options, bool Lora = false)
    {
        public TrainableAdapter On(LanguageModel model) =>
            Lora ? model.NewAdapter(new LoraOptions { Rank = 4, Alpha = 16, Targets = ["q", "v"] }) : model.NewAdapter(Options);
    }

    private sealed class Notices(List<string> said, int stopAfter) : ITrainObserver
    {
        public List<string> Said => said;

        public int StopAfter => stopAfter;

        public CancellationTokenSource Stop { get; } = new();

        public void OnNotice(string sentence) => said.Add(sentence);

        public void OnStep(StepReport report)
        {
            if (report.Step == stopAfter) Stop.Cancel();
        }
    }
}
