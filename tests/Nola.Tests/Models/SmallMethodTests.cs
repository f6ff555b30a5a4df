using System.Buffers.Binary;
using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>What must hold of LoRA's variants and of the methods that train fewer numbers, on every family.</summary>
public sealed class SmallMethodTests : IDisposable
{
    private static readonly string golden = Path.Combine(AppContext.BaseDirectory, "data", "golden");

    private static readonly string[] names = ["rslora", "dora", "lora-xs", "uni-lora", "lokr", "beft"];

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public static TheoryData<string> Methods => [.. names];

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void Without_an_effect_the_output_is_the_base_model_s_bit_for_bit(string method)
    {
        Random r = new(1);
        foreach (string[] targets in Gpt2Targets)
        {
            int[] ids = TinyModels.Ids(r, 12, 61);
            using LanguageModel model = TinyModels.Create(device);
            AdapterOptions options = Options(method, r, targets);
            using TrainableAdapter adapter = model.NewAdapter(options);
            // It alone starts with an effect.
            if (options is UniLoraOptions) TinyModels.Randomize(adapter, r, spread: 0);
            Assert.Equal(model.Logits(ids), model.Logits(ids, adapter));
        }
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void Merged_equals_unmerged_and_saved_equals_trained(string method)
    {
        Random r = new(2);
        foreach (string[] targets in Gpt2Targets)
        {
            int[] ids = TinyModels.Ids(r, 12, 61);
            using LanguageModel model = TinyModels.Create(device);
            string path = Path.Combine(directory, "a");
            using TrainableAdapter adapter = model.NewAdapter(Options(method, r, targets));
            TinyModels.Randomize(adapter, r);
            float[] trained = model.Logits(ids, adapter);
            AdapterFile.Save(adapter, path);
            using LoadedAdapter loaded = AdapterFile.Load(path, model);
            Assert.Equal(trained, model.Logits(ids, loaded));
            using TrainableAdapter again = AdapterFile.LoadTrainable(path, model);
            Assert.Equal(trained, model.Logits(ids, again));
            adapter.Merge();
            // Float32 roundings of the sum of weight and delta in place of two sums.
            OpCheck.Close(OpCheck.Wide(trained), model.Logits(ids), 5e-5);
        }
    }

    [Theory]
    [InlineData("rslora", "LORA")]
    [InlineData("dora", "LORA")]
    [InlineData("lora-xs", "LORA")]
    [InlineData("uni-lora", "UNILORA")]
    [InlineData("lokr", "LOKR")]
    [InlineData("beft", "BEFT")]
    public void On_LLaMA_it_goes_through_PEFTs_directory_and_our_file(string method, string type)
    {
        Random r = new(3);
        using LanguageModel model = LanguageModel.Load(Path.Combine(golden, "llm", "llama-gqa"), device);
        foreach (string[] targets in (string[][])[["q", "v"], ["*"], ["k_proj", "layers.1.mlp.up_proj"]])
        {
            int[] ids = TinyModels.Ids(r, 12, 61);
            string path = Path.Combine(directory, "a"), peft = Path.Combine(directory, $"peft {targets[0].Length}");
            using TrainableAdapter adapter = model.NewAdapter(Options(method, r, targets));
            TinyModels.Randomize(adapter, r);
            float[] trained = model.Logits(ids, adapter);
            Assert.NotEqual(model.Logits(ids), trained);
            AdapterFile.Save(adapter, path);
            PeftFiles.Save(adapter, peft);
            Assert.Contains($"\"peft_type\": \"{type}\"", File.ReadAllText(Path.Combine(peft, "adapter_config.json")));
            using LoadedAdapter own = AdapterFile.Load(path, model), theirs = AdapterFile.Load(peft, model);
            Assert.Equal(trained, model.Logits(ids, own));
            OpCheck.Close(OpCheck.Wide(trained), model.Logits(ids, theirs), 2e-5);
        }
    }

    [Theory]
    [InlineData("rslora")]
    [InlineData("dora")]
    [InlineData("lora-xs")]
    [InlineData("uni-lora")]
    public void On_parts_of_modules_it_is_exported_as_the_equal_LoRA(string method)
    {
        Random r = new(4);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(Options(method, r, ["q", "v", "mlp.*"]));
        TinyModels.Randomize(adapter, r);
        PeftFiles.Save(adapter, directory);
        using LoadedAdapter loaded = AdapterFile.Load(directory, model);
        OpCheck.Close(OpCheck.Wide(model.Logits(ids, adapter)), model.Logits(ids, loaded), 5e-5);
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void On_a_vision_transformer_merged_and_saved_equal_trained(string method)
    {
        Random r = new(5);
        using VisionModel model = VisionModel.Load(Path.Combine(golden, "vision", "vit"), device);
        float[][] images = [OpCheck.Values(r, 3 * model.Config.ImageSize * model.Config.ImageSize, 1)];
        using TrainableAdapter adapter = model.NewAdapter(Options(method, r, ["q", "v", "fc1"]) with { TrainHead = true });
        TinyModels.Randomize(adapter, r, 0.2);
        float[] trained = model.Logits(images, adapter);
        string path = Path.Combine(directory, "a");
        AdapterFile.Save(adapter, path);
        using (LoadedAdapter loaded = AdapterFile.Load(path, model)) Assert.Equal(trained, model.Logits(images, loaded));
        adapter.Merge();
        OpCheck.Close(OpCheck.Wide(trained), model.Logits(images), 5e-5);
    }

    [Property(MaxTest = 20)]
    public void A_sequence_gets_the_same_bits_alone_and_beside_others(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        TrainableAdapter[] adapters = [.. names.Select(name => model.NewAdapter(Options(name, r, Gpt2Targets[r.Next(3)])))];
        foreach (TrainableAdapter adapter in adapters) TinyModels.Randomize(adapter, r, 0.2);
        EncodedPair[] pairs = TinyModels.Pairs(r, 8, 61);
        TrainableAdapter?[] whose =
            [.. pairs.Select(_ => r.Next(adapters.Length + 1) is var i && i < adapters.Length ? adapters[i] : null)];
        bool recorded = r.Next(2) == 0;
        float[] together = Losses(model, TokenStreams.FromPairs(pairs) with { Adapters = whose }, recorded);
        Assert.Equal(
            [.. pairs.SelectMany((pair, i) => Losses(model, TokenStreams.FromPairs([pair]).With(whose[i]), recorded))], together);
        foreach (TrainableAdapter adapter in adapters) adapter.Dispose();
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void The_gradient_is_that_of_the_loss(string method)
    {
        Random r = new(6);
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(Options(method, r, ["c_attn", "mlp.*"]));
        TinyModels.Randomize(adapter, r, 0.1);
        TokenStream stream = TokenStreams.FromPairs(TinyModels.Pairs(r, 3, 61)).With(adapter);
        using StreamTensors batch = new(device, stream);
        // Twice, and half of it each time: gradients are added up.
        for (int i = 0; i < 2; i++)
        {
            using Tape tape = new(device);
            tape.Backward(model.Loss(tape, batch, 0.1f, 0.5f / stream.Targets.Length));
        }
        adapter.CollectGradients();
        foreach (Parameter p in adapter.Parameters)
        {
            // DoRA's norm is a constant in the gradient of its factors, so that this is not their loss's.
            if (method == "dora" && p.Shape.Rank == 3) continue;
            float[] gradient = p.Gradient.ToArray(), values = p.Value.ToArray();
            double slope = gradient.Sum(g => Math.Abs((double)g));
            double numeric = (4 * Central(5e-4f) - Central(1e-3f)) / 3;
            device.Upload(values, p.Value);
            adapter.Update();
            Assert.True(Math.Abs(numeric - slope) < 1e-3 + 0.01 * slope, $"{p.Name}: {numeric} for {slope}");

            double Central(float step) => (LossAt(+step) - LossAt(-step)) / (2 * (double)step);

            double LossAt(float by)
            {
                device.Upload([.. values.Zip(gradient, (v, g) => v + by * Math.Sign(g))], p.Value);
                adapter.Update();
                using Tape tape = new(device, record: false);
                using Tensor losses = device.Empty([stream.Targets.Length]);
                model.Loss(tape, batch, 0.1f, 1, losses);
                return losses.ToArray().Average(l => (double)l);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void A_run_that_was_stopped_goes_on_to_the_same_bits(string method)
    {
        EncodedPair[] pairs = TinyModels.Pairs(new Random(7), 40, 61);
        Assert.Equal(Run("once", false), Run("twice", true));

        byte[] Run(string name, bool stop)
        {
            string path = Path.Combine(directory, name);
            if (stop) Assert.Equal(3, Part(path, 3, resume: false).Steps);
            Assert.Equal(6, Part(path, 0, resume: stop).Steps);
            return File.ReadAllBytes(Path.Combine(path, "adapter.safetensors"));
        }

        TrainResult Part(string path, int stopAfter, bool resume)
        {
            TrainOptions options = new() { MaxSteps = 6, BatchTokens = 60, LearningRate = 0.02f, EvalEvery = 3, EvalPairs = 0 };
            using LanguageModel model = TinyModels.Create(device);
            using TrainableAdapter adapter = model.NewAdapter(Options(method, new Random(8), ["q", "v"]));
            using RunDirectory run = new(path, resume);
            StopAfter observer = new(stopAfter);
            Trainer trainer = new(model, adapter, options, run, observer);
            if (stopAfter == 0) return trainer.Run(pairs, pairs, resume);
            Assert.Throws<OperationCanceledException>(() => trainer.Run(pairs, pairs, resume, observer.Stop.Token));
            return trainer.Result!;
        }
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void Rounded_to_eight_bits_it_is_loaded_and_near(string method)
    {
        Random r = new(12);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = TinyModels.Create(device);
        string path = Path.Combine(directory, "a"), packed = Path.Combine(directory, "packed");
        using TrainableAdapter adapter = model.NewAdapter(Options(method, r, ["c_attn", "mlp.*"]));
        TinyModels.Randomize(adapter, r, 0.2);
        AdapterFile.Save(adapter, path);
        AdapterQuantization.Quantize(path, 8, packed);
        using LoadedAdapter loaded = AdapterFile.Load(packed, model);
        float[] rounded = model.Logits(ids, loaded), trained = model.Logits(ids, adapter);
        Assert.NotEqual(trained, rounded);
        OpCheck.Close(OpCheck.Wide(trained), rounded, 0.05);
    }

    [Fact]
    public void LoRA_XS_is_loaded_on_the_weights_that_it_was_trained_on()
    {
        string path = Path.Combine(directory, "a");
        using (LanguageModel model = LanguageModel.Load(TinyModels.Golden, device))
        using (TrainableAdapter adapter = model.NewAdapter(new LoraXsOptions { Rank = 4 }))
        {
            AdapterFile.Save(adapter, path);
            Assert.Equal(2 * 2 * 16, adapter.ParameterCount);                     // layers, maps, r²
        }
        using LanguageModel rounded = LanguageModel.Load(TinyModels.Golden, device, format: WeightFormat.Int8);
        Assert.EndsWith(
            "the file is damaged or its base was kept in another precision.",
            Assert.Throws<NolaException>(() => AdapterFile.Load(path, rounded)).Message);
    }

    [Theory]
    [InlineData("lora-xs", 25, "q", "rank is 25; expected 1 to 24, the shortest side of the adapted maps.")]
    [InlineData("lora-xs", 4, "lm_head", "targets: LoRA-XS is on linear maps of blocks, and lm_head is none")]
    [InlineData("lora-xs", 0, "q", "rank is 0; expected 1 to 24")]
    [InlineData("uni-lora", 4, "wte", "targets: Uni-LoRA cannot be on wte, a token embedding, as PEFT's cannot")]
    [InlineData("uni-lora", 0, "q", "rank is 0; expected 1 to 24")]
    [InlineData("beft", 4, "lm_head", "targets: BEFT is on linear maps of blocks, and lm_head is none")]
    [InlineData("beft", 4, "wte", "targets: BEFT is on linear maps of blocks, and wte is none")]
    public void What_does_not_fit_is_refused(string method, int rank, string target, string expected)
    {
        using LanguageModel model = TinyModels.Create(device);
        AdapterOptions options = AdapterMethods.Find(method)!.Defaults with { Rank = rank, Targets = [target] };
        Assert.StartsWith(expected, Assert.Throws<NolaException>(() => model.NewAdapter(options)).Message);
    }

    [Fact]
    public void Merging_biases_is_done_whole_or_not_at_all_and_leaves_weights_in_their_codes()
    {
        Random r = new(11);
        int[] ids = TinyModels.Ids(r, 12, 61);
        string place = Path.Combine(directory, "qwen");
        LlamaConfig qwen = new("qwen2", 2, 6, 2, 16, 72, 112, 61, 300);
        using (LanguageModel made = LanguageModel.Create(qwen, device, 3)) made.Save(place);
        AdapterOptions beft = AdapterMethods.Find("beft")!.Defaults;
        using LanguageModel model = LanguageModel.Load(place, device, format: WeightFormat.Int8);
        float[] before = model.Logits(ids);
        using (TrainableAdapter both = model.NewAdapter(beft with { Targets = ["v_proj", "o_proj"] }))
        {
            TinyModels.Randomize(both, r);
            NolaException error = Assert.Throws<NolaException>(both.Merge);
            Assert.StartsWith("Merging: a bias was trained for model.layers.0.self_attn.o_proj, which has none", error.Message);
        }
        Assert.Equal(before, model.Logits(ids));
        using TrainableAdapter one = model.NewAdapter(beft with { Targets = ["v_proj"] });
        TinyModels.Randomize(one, r);
        float[] unmerged = model.Logits(ids, one);
        one.Merge();
        Assert.All(model.Maps, map => Assert.Equal(WeightFormat.Int8, map.Frozen!.Format));
        Assert.NotEqual(before, model.Logits(ids));
        // The sum of both biases is rounded before the product is added to it, not after.
        OpCheck.Close(OpCheck.Wide(unmerged), model.Logits(ids), 1e-5);
    }

    [Fact]
    public void Uni_LoRA_refuses_numbers_out_of_range()
    {
        using LanguageModel model = TinyModels.Create(device);
        Refuses(new() { Length = 0 }, "theta-length is 0; expected a whole number from 1.");
        Refuses(new() { Bound = -1 }, "theta-bound is -1; expected a number above 0.");
        Refuses(new() { Bound = float.NaN }, "theta-bound is NaN; expected a number above 0.");

        Refuses(new() { Bound = 0 }, "theta-bound is 0; expected a number above 0.");

        void Refuses(UniLoraOptions options, string expected) =>
            Assert.Equal(expected, Assert.Throws<NolaException>(() => model.NewAdapter(options)).Message);
    }

    [Fact]
    public void Uni_LoRA_s_entries_are_dealt_module_by_module_as_PEFT_deals_them()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        UniLoraOptions options = new() { Rank = 2, Length = 100, Seed = 7, Targets = ["c_attn", "c_fc", "attn.c_proj"] };
        using TrainableAdapter adapter = model.NewAdapter(options);
        float[] theta = [.. Enumerable.Range(0, 100).Select(i => i + 1f)];
        device.Upload(theta, adapter.Parameters[0].Value);
        adapter.Update();
        int[] dealt = UniLoraMethod.Dealt(options, adapter.Groups);
        float[] scales = UniLoraMethod.Scales(dealt, 100);
        int at = 0;
        // The order of the modules in the model of transformers.
        foreach (string name in (string[])["attn.c_attn", "attn.c_proj", "mlp.c_fc"])
        {
            MapStack stack = adapter.Stacks.OfType<MapStack>().First(stack => stack.Group.Kind == name);
            LowRankFactors factors = stack.Factors(0)!;
            Assert.Equal(1, factors.Alpha / factors.Rank);
            float[] a = Entries(stack.Group.In * 2), b = Entries(stack.Group.Out * 2);
            Assert.Equal(a, HostMatrix.Transpose(factors.A, stack.Group.In, 2));
            Assert.Equal(b, HostMatrix.Transpose(factors.B, 2, stack.Group.Out));
        }

        float[] Entries(int count) => [.. dealt[at..(at += count)].Select(index => theta[index] * scales[index])];
    }

    [Fact]
    public void Indices_of_a_file_of_PEFT_are_used_where_they_are_others_than_the_seed_s()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        Random r = new(9);
        int[] ids = TinyModels.Ids(r, 9, 97);
        UniLoraOptions options = new() { Rank = 2, Length = 50, Targets = ["c_attn"] };
        string weights = Path.Combine(directory, "adapter_model.safetensors");
        using TrainableAdapter adapter = model.NewAdapter(options);
        TinyModels.Randomize(adapter, r);
        PeftFiles.Save(adapter, directory);
        float[] plain = model.Logits(ids, adapter);
        int[] dealt = UniLoraMethod.Dealt(options, adapter.Groups);
        float[] theta = adapter.Parameters[0].Value.ToArray(), scales = UniLoraMethod.Scales(dealt, 50);
        WriteWithIndices(weights, theta, dealt, scales);
        using (LoadedAdapter same = AdapterFile.Load(directory, model)) Assert.Equal(plain, model.Logits(ids, same));
        // Every entry is the value after its own.
        WriteWithIndices(weights, theta, [.. dealt.Select(index => (index + 1) % 50)], [scales[^1], .. scales[..^1]]);
        string again = Path.Combine(directory, "again"), file = Path.Combine(again, "adapter_config.json");
        using LoadedAdapter other = AdapterFile.Load(directory, model);
        float[] turned = model.Logits(ids, other);
        Assert.NotEqual(plain, turned);
        using TrainableAdapter equal = model.NewAdapter(options);
        device.Upload([.. theta[1..], theta[0]], equal.Parameters[0].Value);
        equal.Update();
        OpCheck.Close(OpCheck.Wide(model.Logits(ids, equal)), turned, 1e-6);
        // No seed gives these, so that the equal LoRA is written.
        PeftFiles.Save(other, again);
        Assert.Contains("\"peft_type\": \"LORA\"", File.ReadAllText(file));
        using LoadedAdapter lora = AdapterFile.Load(again, model);
        OpCheck.Close(OpCheck.Wide(turned), model.Logits(ids, lora), 2e-5);
        WriteWithIndices(weights, theta, [50, .. dealt[1..]], scales);
        Assert.Contains("is 50; expected 0 to 49", Refused(model));
        WriteWithIndices(weights, theta, dealt, scales, whole: false);
        Assert.Contains("h.1.attn.c_attn has not all of its indices and scales", Refused(model));
        SafetensorsWriter.Write(weights, [new SafetensorsTensor("base_model.unilora_theta_d", [49], theta[..49])]);
        Assert.Contains("has shape [49]; theta_d_length of", Refused(model));
    }

    [Fact]
    public void The_nearest_LoRA_misses_what_is_said_and_less_at_a_higher_rank()
    {
        Random r = new(10);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 2, Decomposed = true, Targets = ["q", "mlp.*"] });
        TinyModels.Randomize(adapter, r, 0.3);
        float[] trained = model.Logits(ids, adapter);
        double[][] sums = [.. Sums(adapter)];
        double last = 1;
        foreach (int rank in (int[])[1, 3, 10, 24, 30])
        {
            string path = Path.Combine(directory, $"{rank}");
            double error = PeftFiles.SaveNearest(adapter, path, rank);
            Assert.True(error < last, $"{error} at rank {rank}, {last} before");
            using LoadedAdapter nearest = AdapterFile.Load(path, model);
            Assert.Equal(Math.Sqrt(Missed(sums, nearest)), error, 1e-5);
            if (rank >= 24) OpCheck.Close(OpCheck.Wide(trained), model.Logits(ids, nearest), 5e-5);
            last = Math.Max(error, 1e-5);
        }
    }

    [Theory]
    [InlineData("lora-xs")]
    [InlineData("uni-lora")]
    public void The_nearest_LoRA_of_the_same_rank_is_the_equal_one(string method)
    {
        Random r = new(11);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(Options(method, r, ["c_attn", "mlp.*"]));
        TinyModels.Randomize(adapter, r);
        Assert.InRange(PeftFiles.SaveNearest(adapter, directory, adapter.Options.Rank), 0, 1e-5);
        using LoadedAdapter loaded = AdapterFile.Load(directory, model);
        OpCheck.Close(OpCheck.Wide(model.Logits(ids, adapter)), model.Logits(ids, loaded), 5e-5);
    }

    [Fact]
    public void There_is_no_LoRA_near_to_a_bias_or_a_table_of_tokens()
    {
        using LanguageModel model = TinyModels.Create(device);
        Refused(new BeftOptions(), 1, "PeftFiles.SaveNearest: what is added to h.0.attn.v is a bias, so that no LoRA is near to it.");
        Refused(new BitFitOptions(), 1, "PeftFiles.SaveNearest: what a BitFit adapter adds to");
        Refused(new LoraOptions { Targets = ["q", "wte"] }, 1, "PeftFiles.SaveNearest: wte is a table of tokens");
        Refused(new LoraOptions(), 0, "PeftFiles.SaveNearest: rank is 0; expected 1 to 65536.");

        void Refused(AdapterOptions options, int rank, string expected)
        {
            using TrainableAdapter adapter = model.NewAdapter(options);
            string path = Path.Combine(directory, "refused");
            Assert.StartsWith(expected, Assert.Throws<NolaException>(() => PeftFiles.SaveNearest(adapter, path, rank)).Message);
            Assert.False(Directory.Exists(path));
        }
    }

    // What an adapter adds to each map, from its own numbers: DoRA's columns by their lengths, in double precision.
    private static IEnumerable<double[]> Sums(TrainableAdapter adapter)
    {
        foreach (DoraStack stack in adapter.Stacks.Cast<DoraStack>())
        {
            for (int row = 0; row < stack.Group.Count; row++)
            {
                AdaptableMap map = stack.Group.Maps[row];
                float[] w = FrozenWeights.Columns((LinearMap)map.Host, map.Column, map.Out);
                (LowRankFactors factors, float[] lengths) = stack.Parts(row);
                double[] v = Product(factors, map);
                for (int i = 0; i < v.Length; i++) v[i] += w[i];
                double[] norms = new double[map.Out];
                for (int i = 0; i < v.Length; i++) norms[i % map.Out] += v[i] * v[i];
                yield return [.. v.Select((value, i) => value * lengths[i % map.Out] / Math.Sqrt(norms[i % map.Out]) - w[i])];
            }
        }
    }

    // Of the squares, the share that a LoRA of whole modules misses; its columns of q lie first in c_attn.
    private static double Missed(double[][] sums, LoadedAdapter lora)
    {
        double missed = 0, whole = 0;
        int at = 0;
        foreach (MapStack stack in lora.Stacks.Cast<MapStack>().OrderBy(stack => stack.Group.Kind == "attn.c_attn" ? 0 : 1))
        {
            for (int row = 0; row < stack.Group.Count; row++, at++)
            {
                AdaptableMap map = stack.Group.Maps[row];
                double[] near = Product(stack.Factors(row)!, map);
                int width = sums[at].Length / map.In;
                for (int i = 0; i < sums[at].Length; i++)
                {
                    whole += sums[at][i] * sums[at][i];
                    missed += Math.Pow(sums[at][i] - near[i / width * map.Out + i % width], 2);
                }
            }
        }
        return missed / whole;
    }

    private static double[] Product(LowRankFactors factors, AdaptableMap map) =>
        [.. Reference.MatMul(OpCheck.Wide(factors.A), OpCheck.Wide(factors.B), map.In, factors.Rank, map.Out)
            .Select(value => value * factors.Alpha / factors.Rank)];

    private static string[][] Gpt2Targets => [["q", "v"], ["*"], ["c_attn", "h.1.mlp.c_fc"]];

    private static AdapterOptions Options(string method, Random r, string[] targets) => method switch
    {
        "rslora" => new LoraOptions { Rank = 1 + r.Next(5), Alpha = 3, RankStabilized = true, Targets = targets },
        "dora" => new LoraOptions { Rank = 1 + r.Next(5), Alpha = 3, Decomposed = true, Targets = targets },
        "lora-xs" => new LoraXsOptions { Rank = 1 + r.Next(9), Alpha = 3, Targets = targets },
        "uni-lora" => new UniLoraOptions { Rank = 1 + r.Next(5), Length = 1 + r.Next(90), Seed = (ulong)r.NextInt64(), Targets = targets },
        "lokr" => new LoKrOptions { Rank = 1 + r.Next(5), Factor = r.Next(2) == 0 ? -1 : 2, Targets = targets },
        _ => new BeftOptions { Targets = targets },
    };

    private float[] Losses(LanguageModel model, TokenStream stream, bool recorded)
    {
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device, recorded);
        using Tensor losses = device.Empty([stream.Targets.Length]);
        model.Loss(tape, batch, 0, 1, losses);
        return losses.ToArray();
    }

    private string Refused(LanguageModel model)
    {
        long before = device.Pool.LiveBytes;
        string message = Assert.Throws<NolaException>(() => AdapterFile.Load(directory, model)).Message;
        Assert.Equal(before, device.Pool.LiveBytes);
        return message;
    }

    // A file as PEFT writes it with save_indices, of two modules c_attn (48, 144) at rank 2; the writer of the library has no int64.
    private static void WriteWithIndices(string path, float[] theta, int[] indices, float[] scales, bool whole = true)
    {
        RawTensors tensors = new();
        tensors.Add("base_model.unilora_theta_d", "F32", [theta.Length], Floats(theta));
        int at = 0;
        for (int layer = 0; layer < 2; layer++)
        {
            foreach ((string part, int[] shape) in ((string, int[])[])[("A", [2, 48]), ("B", [144, 2])])
            {
                int[] own = indices[at..(at += shape[0] * shape[1])];
                string name = $"base_model.model.transformer.h.{layer}.attn.c_attn.unilora_";
                byte[] longs = new byte[own.Length * sizeof(long)];
                for (int i = 0; i < own.Length; i++) BinaryPrimitives.WriteInt64LittleEndian(longs.AsSpan(i * sizeof(long)), own[i]);
                tensors.Add($"{name}indices_{part}", "I64", shape, longs);
                tensors.Add($"{name}scales_{part}", "F32", shape, Floats([.. own.Select(i => scales[i % scales.Length])]));
            }
        }
        if (!whole) tensors.Remove("base_model.model.transformer.h.1.attn.c_attn.unilora_scales_B");
        tensors.Write(path);

        static byte[] Floats(float[] values) => System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(values).ToArray();
    }

    private sealed class StopAfter(int step) : ITrainObserver
    {
        public CancellationTokenSource Stop { get; } = new();

        public void OnStep(StepReport report)
        {
            if (report.Step == step) Stop.Cancel();
        }
    }
}
