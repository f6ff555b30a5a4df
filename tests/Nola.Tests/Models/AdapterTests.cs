using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

public sealed class AdapterTests : IDisposable
{
    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Property(MaxTest = 12)]
    public void The_first_output_is_the_base_model_s_bit_for_bit(int seed)
    {
        Random r = new(seed);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = TinyModels.Create(device);
        float[] without = model.Logits(ids);
        using TrainableAdapter adapter = r.Next(2) == 0
            ? model.NewAdapter(Options(r))
            : model.NewAdapter(new LoraOptions { Targets = ["*", "wte", "lm_head"] });
        Assert.Equal(without, model.Logits(ids, adapter));
    }

    [Property(MaxTest = 12)]
    public void Merged_equals_unmerged(int seed)
    {
        Random r = new(seed);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = TinyModels.Create(device, trainable: r.Next(2) == 0);
        float[] without = model.Logits(ids);
        using TrainableAdapter adapter = model.NewAdapter(Options(r));
        TinyModels.Randomize(adapter, r);
        float[] unmerged = model.Logits(ids, adapter);
        adapter.Merge();
        Assert.NotEqual(without, unmerged);
        OpCheck.Close(OpCheck.Wide(unmerged), model.Logits(ids), 2e-5);      // one float32 rounding of W + AB in place of two sums
    }

    [Property(MaxTest = 12)]
    public void Saved_and_loaded_equals_trained_bit_for_bit(int seed)
    {
        Random r = new(seed);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = TinyModels.Create(device);
        string path = Path.Combine(directory, "adapter.safetensors");
        float[] trained;
        using (TrainableAdapter adapter = r.Next(3) > 0
            ? model.NewAdapter(Options(r))
            : model.NewAdapter(new LoraOptions { Rank = 3, Targets = ["v", "h.1.mlp.*", "wte"] }))
        {
            TinyModels.Randomize(adapter, r);
            trained = model.Logits(ids, adapter);
            AdapterFile.Save(adapter, path);
        }
        using LoadedAdapter loaded = AdapterFile.Load(path, model);
        Assert.Equal(trained, model.Logits(ids, loaded));
    }

    [Property(MaxTest = 12)]
    public void Exported_to_PEFT_and_loaded_gives_the_same_logits(int seed)
    {
        Random r = new(seed);
        int[] ids = TinyModels.Ids(r, 12, 61);
        using LanguageModel model = TinyModels.Create(device);
        float[] trained;
        string peft = Path.Combine(directory, $"peft{seed}");
        using (TrainableAdapter adapter = model.NewAdapter(Options(r)))
        {
            TinyModels.Randomize(adapter, r);
            trained = model.Logits(ids, adapter);
            PeftFiles.Save(adapter, peft);
        }
        using LoadedAdapter loaded = AdapterFile.Load(peft, model);
        OpCheck.Close(OpCheck.Wide(trained), model.Logits(ids, loaded), 2e-5);       // the products are summed in another order
    }

    [Fact]
    public void A_loaded_adapter_holds_each_factor_once_and_no_coefficients()
    {
        using LanguageModel model = LanguageModel.Create(new Gpt2Config(2, 4, 256, 61, 40), device, 1, trainable: false);
        string path = Path.Combine(directory, "a");
        using (TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 16, Bases = 4096 })) AdapterFile.Save(adapter, path);
        long before = device.Pool.LiveBytes;
        using LoadedAdapter loaded = AdapterFile.Load(path, model), again = AdapterFile.Load(path, model);
        // Maps, layers, both sides, rank, float32; twice. The pool rounds up by an eighth at most.
        long factors = 2L * 2 * 2 * (256 + 256) * 16 * sizeof(float);
        Assert.InRange(device.Pool.LiveBytes - before, factors, factors * 9 / 8);
        Assert.Equal(loaded.Digest, again.Digest);
    }

    [Fact]
    public void A_NOLA_file_holds_only_what_was_trained()
    {
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Bases = 100 });
        string path = Path.Combine(directory, "a");
        AdapterFile.Save(adapter, path);
        Assert.Equal(2 * 2 * 2 * 100, adapter.ParameterCount);      // layers, maps, factors, k
        Assert.InRange(new FileInfo(path).Length, 4 * adapter.ParameterCount, 4 * adapter.ParameterCount + 1500);
    }

    [Fact]
    public void Another_base_generator_fingerprint_or_damage_is_refused()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        string path = Path.Combine(directory, "a");
        using (TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Bases = 5 })) AdapterFile.Save(adapter, path);
        using LanguageModel other = LanguageModel.Load(TinyModels.TinyRandom, device);
        Assert.Contains("another one", Refused(other, path));
        Assert.Contains("generator", Refused(model, Changed(path, "generator", "mt19937")));
        Assert.Contains("fingerprint", Refused(model, Changed(path, "seed", "43")));
        Assert.Contains("'rank' = 'eight'", Refused(model, Changed(path, "rank", "eight")));
        Assert.Contains("has shape", Refused(model, Changed(path, "targets", "h.0.attn.q,h.0.attn.v")));
        Assert.Contains("lacks 'format'", Refused(model, Path.Combine(TinyModels.Golden, "expected.safetensors")));
        Assert.Contains("no such adapter", Refused(model, Path.Combine(directory, "none")));
        Assert.Contains("no adapter_config.json", Refused(model, directory));
        using LoadedAdapter right = AdapterFile.Load(path, model);
    }

    [Fact]
    public void A_PEFT_adapter_that_is_not_plain_LoRA_of_this_size_is_refused()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        using LanguageModel other = LanguageModel.Load(TinyModels.TinyRandom, device);
        using (TrainableAdapter adapter = model.NewAdapter(new LoraOptions())) PeftFiles.Save(adapter, directory);
        Assert.Contains("another base model", Refused(other, directory));
        string config = Path.Combine(directory, "adapter_config.json"), text = File.ReadAllText(config);
        File.WriteAllText(config, text.Replace("LORA", "ADALORA"));
        Assert.Contains("peft_type is 'ADALORA'", Refused(model, directory));
        File.WriteAllText(config, text.Replace("\"r\"", "\"use_dora\": true, \"r\""));
        Assert.Contains("lora_magnitude_vector", Refused(model, directory));
    }

    [Fact]
    public void Targets_match_names_and_their_ends()
    {
        using LanguageModel model = TinyModels.Create(device, layers: 3);
        Assert.Equal("attn.q:0,1,2 attn.v:0,1,2", Resolve("q", "v"));
        Assert.Equal("attn.c_proj:0,1,2 mlp.c_proj:0,1,2", Resolve("c_proj"));
        Assert.Equal("attn.q:1 attn.k:1 attn.v:1 attn.c_proj:1 mlp.c_fc:1 mlp.c_proj:1", Resolve("h.1.*"));
        Assert.Equal("attn.c_attn:0,1,2", Resolve("c_attn"));
        Assert.Equal("mlp.c_fc:0,2", Resolve("h.0.mlp.c_fc", "h.2.mlp.c_fc"));
        Assert.Contains("'query' matches no", Assert.Throws<NolaException>(() => Resolve("query")).Message);
        Assert.Equal(
            "targets: 'query' matches no linear map; maps are q, k, v, c_attn, attn.c_proj, c_fc, mlp.c_proj in h.0 … h.2, "
            + "and by these names alone wte, lm_head.",
            Assert.Throws<NolaException>(() => Resolve("query")).Message);
        Assert.Equal(
            "targets: c_attn is q, k and v together; name it or them, not both.",
            Assert.Throws<NolaException>(() => Resolve("c_attn", "q")).Message);
        Assert.Contains("empty", Assert.Throws<NolaException>(() => Resolve()).Message);
        string everything = "attn.q:0,1,2 attn.k:0,1,2 attn.v:0,1,2 attn.c_proj:0,1,2 mlp.c_fc:0,1,2 mlp.c_proj:0,1,2";
        Assert.Equal(everything, Resolve("*"));
        Assert.Equal(everything + " wte:0 lm_head:0", Resolve("lm_head", "*", "wte"));
        foreach (string pattern in (string[])["wt*", "*te", "lm_*", "head", "te"])
            Assert.Contains("matches no linear map", Assert.Throws<NolaException>(() => Resolve(pattern)).Message);

        string Resolve(params string[] patterns) =>
            string.Join(' ', AdapterTargets.Resolve(patterns, model.AdaptableMaps).Select(g => $"{g.Kind}:{string.Join(',', g.Layers)}"));
    }

    [Property(MaxTest = 20)]
    public void A_whole_two_layer_GPT2_with_NOLA_has_the_gradient_of_its_loss(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter adapter = model.NewAdapter(Options(r) with { Alpha = 4 });
        TinyModels.Randomize(adapter, r, 0.1); // weights of the size of the model's own: larger ones bend the loss sharply
        TokenStream stream = TokenStreams.FromPairs(TinyModels.Pairs(r, 3, 61)).With(adapter);
        using StreamTensors batch = new(device, stream);
        using (Tape tape = new(device)) tape.Backward(model.Loss(tape, batch, 0.1f, 1f / stream.Targets.Length));
        adapter.CollectGradients();
        foreach (Parameter p in adapter.Parameters)
        {
            float[] gradient = p.Gradient.ToArray(), values = p.Value.ToArray();
            // A direction of the whole parameter: its derivative is large against the float32 rounding of two losses.
            float[] direction = [.. gradient.Select(g => (float)Math.Sign(g))];
            const float Step = 1e-3f;
            double slope = gradient.Sum(g => Math.Abs((double)g));
            // Sums over dozens of bases bend the loss, so Richardson's extrapolation removes the h² term; the rounding of a loss
            // of 4 in float32 leaves 2e-7 · 5/3 / 5e-4 = 7e-4.
            double numeric = (4 * Central(Step / 2) - Central(Step)) / 3;
            device.Upload(values, p.Value);
            Assert.True(Math.Abs(numeric - slope) < 1e-3 + 0.01 * slope, $"{p.Name}: {numeric} for {slope}");

            double Central(float step) => (LossAt(+step) - LossAt(-step)) / (2 * (double)step);

            double LossAt(float by)
            {
                device.Upload([.. values.Zip(direction, (v, d) => v + by * d)], p.Value);
                adapter.Update();
                using Tape tape = new(device, record: false);
                using Tensor losses = device.Empty([stream.Targets.Length]);
                model.Loss(tape, batch, 0.1f, 1, losses);
                return losses.ToArray().Average(l => (double)l);
            }
        }
    }

    private static NolaOptions Options(Random r) => new()
    {
        Rank = 1 + r.Next(6),
        BasesA = 1 + r.Next(40),
        BasesB = 1 + r.Next(40),
        Seed = (ulong)r.NextInt64(),
        Entries = (BasisEntries)r.Next(3),
        PerLayer = r.Next(2) == 0,
        Targets = r.Next(5) switch
        {
            0 => ["q", "v"],
            1 => ["*"],
            2 => ["*", "wte", "lm_head"],
            3 => [((string[])["wte", "lm_head"])[r.Next(2)]],
            _ => ["c_attn", "h.1.mlp.c_fc"],
        },
    };

    private static string Refused(LanguageModel model, string path) =>
        Assert.Throws<NolaException>(() => AdapterFile.Load(path, model)).Message;

    private string Changed(string path, string key, string value)
    {
        using Safetensors file = Safetensors.Open(path);
        string changed = Path.Combine(directory, $"changed-{key}");
        SafetensorsWriter.Write(changed, file.Entries.Select(e =>
        {
            float[] values = new float[e.Length];
            file.ReadFloats(e, values);
            return new SafetensorsTensor(e.Name, Shape.Create([.. e.Shape.Select(d => (int)d)]), values);
        }), new Dictionary<string, string>(file.Metadata) { [key] = value });
        return changed;
    }
}
