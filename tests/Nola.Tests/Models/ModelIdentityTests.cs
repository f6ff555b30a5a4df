using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>The digest by which an adapter knows its base: of every value of every weight, as it is now.</summary>
public sealed class ModelIdentityTests : IDisposable
{
    // A width at which the 256 samples of the earlier identity all fall on the first columns of c_attn, those of q.
    private static readonly Gpt2Config wide = new(1, 4, 256, 61, 40);

    private readonly CpuDevice device = new(1);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void It_is_what_the_reference_program_of_XXH128_gives()
    {
        // Computed from docs/adapter-file.md in Python with libxxhash 0.8.1. Files name it: a change of any digit is a new kind of
        // identity, with a new number before the colon.
        Assert.Equal("99aa06d3014798d86001c324468d497f", WeightDigest.Of([0], []).Hash);
        using LanguageModel golden = LanguageModel.Load(TinyModels.Golden, device);
        using LanguageModel tiny = LanguageModel.Load(TinyModels.TinyRandom, device);
        Assert.Equal("2:801d72f8ec191d8321f3f4b64336a36e", golden.Identity);
        Assert.Equal("2:6fb1e4f7b3b763168b0130f077eeec20", tiny.Identity);
    }

    [Fact]
    public void A_merged_model_is_another_one_whatever_was_adapted()
    {
        string adapter = Path.Combine(directory, "v"), merged = Path.Combine(directory, "merged");
        using LanguageModel model = LanguageModel.Create(wide, device, 1, trainable: false);
        string before = model.Identity;
        using (TrainableAdapter v = model.NewAdapter(new NolaOptions { Bases = 8, Targets = ["v"] }))
        {
            TinyModels.Randomize(v, new Random(1));
            AdapterFile.Save(v, adapter);
            v.Merge();
        }
        Assert.NotEqual(before, model.Identity);
        Assert.Contains("is another one", Refused(adapter, model));
        model.Save(merged);
        using LanguageModel saved = LanguageModel.Load(merged, device);
        Assert.Equal(model.Identity, saved.Identity);
        Assert.Contains("is another one", Refused(adapter, saved));
    }

    [Fact]
    public void Created_models_of_other_seeds_differ_and_a_saved_one_loads_as_itself()
    {
        using LanguageModel one = TinyModels.Create(device, seed: 1), two = TinyModels.Create(device, seed: 2);
        using LanguageModel trainable = TinyModels.Create(device, trainable: true, seed: 1);
        Assert.NotEqual(one.Identity, two.Identity);
        Assert.Equal(one.Identity, trainable.Identity);
        one.Save(directory);
        using LanguageModel loaded = LanguageModel.Load(directory, device), again = LanguageModel.Load(directory, device, trainable: true);
        Assert.Equal(one.Identity, loaded.Identity);
        Assert.Equal(one.Identity, again.Identity);
        using (TrainableAdapter adapter = one.NewAdapter(new LoraOptions())) AdapterFile.Save(adapter, Path.Combine(directory, "a"));
        Assert.Contains("is another one", Refused(Path.Combine(directory, "a"), two));
    }

    [Fact]
    public void Any_one_value_changes_it()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        HashSet<string> seen = [model.Identity];
        (string Name, Shape Shape, float[] Values)[] weights = [.. model.Weights().Select(w => (w.Name, w.Shape, w.Values()))];
        File.Copy(Path.Combine(TinyModels.Golden, "config.json"), Path.Combine(directory, "config.json"));
        Random r = new(1);
        foreach ((string name, _, float[] values) in weights)
        {
            int at = r.Next(values.Length);
            float kept = values[at];
            values[at] = MathF.BitIncrement(kept);
            SafetensorsWriter.Write(
                Path.Combine(directory, "model.safetensors"), weights.Select(w => new SafetensorsTensor(w.Name, w.Shape, w.Values)));
            using LanguageModel changed = LanguageModel.Load(directory, device);
            Assert.True(seen.Add(changed.Identity), name);
            values[at] = kept;
        }
    }

    [Fact]
    public void The_configuration_that_shapes_the_output_is_in_it()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        string config = File.ReadAllText(Path.Combine(TinyModels.Golden, "config.json"));
        model.Save(directory);
        HashSet<string> seen = [model.Identity];
        Assert.False(seen.Add(With(config)));
        Assert.True(seen.Add(With(config.Replace("1e-05", "1e-06"))));
        Assert.True(seen.Add(With(config.Replace("\"n_head\": 4", "\"n_head\": 2"))));

        string With(string text)
        {
            File.WriteAllText(Path.Combine(directory, "config.json"), text);
            using LanguageModel changed = LanguageModel.Load(directory, device);
            return changed.Identity;
        }
    }

    [Fact]
    public void Full_training_and_written_parameters_change_it()
    {
        using LanguageModel model = TinyModels.Create(device, trainable: true);
        string before = model.Identity;
        new Trainer(model, null, new TrainOptions
        {
            MaxSteps = 1,
            BatchTokens = 60,
            EvalPairs = 0,
        }).Run(TinyModels.Pairs(new Random(1), 6, 61), []);
        string trained = model.Identity;
        Assert.NotEqual(before, trained);
        model.Save(directory);
        using LanguageModel loaded = LanguageModel.Load(directory, device);
        Assert.Equal(trained, loaded.Identity);
        Autograd.Parameter bias = loaded.Map("h.0.mlp.c_fc").Bias!;
        float[] values = bias.Value.ToArray();
        values[3] += 1;
        device.Upload(values, bias.Value);
        Assert.NotEqual(trained, loaded.Identity);
    }

    [Fact]
    public void How_the_values_are_stored_does_not_matter_and_what_is_rounded_away_does()
    {
        string halves = Path.Combine(directory, "halves"), wideFile = Path.Combine(directory, "wide");
        using LanguageModel model = TinyModels.Create(device);
        model.Save(halves, DType.BFloat16);
        using LanguageModel rounded = LanguageModel.Load(halves, device);
        Assert.NotEqual(model.Identity, rounded.Identity);
        // The same values in four bytes each.
        rounded.Save(wideFile);
        using LanguageModel whole = LanguageModel.Load(wideFile, device);
        Assert.Equal(rounded.Identity, whole.Identity);
    }

    [Fact]
    public void Bfloat16_storage_keeps_the_files_identity_until_something_is_merged()
    {
        string file = Path.Combine(directory, "a"), saved = Path.Combine(directory, "saved");
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        using LanguageModel narrow = LanguageModel.Load(TinyModels.Golden, device, format: WeightFormat.BFloat16);
        Assert.Equal(model.Identity, narrow.Identity);
        using (TrainableAdapter adapter = model.NewAdapter(new LoraOptions())) AdapterFile.Save(adapter, file);
        using (TrainableAdapter adapter = AdapterFile.LoadTrainable(file, narrow))
        {
            TinyModels.Randomize(adapter, new Random(1));
            adapter.Merge();
        }
        Assert.NotEqual(model.Identity, narrow.Identity);
        Assert.Contains("is another one", Refused(file, narrow));
    }

    [Fact]
    public void Files_of_earlier_versions_still_load_and_give_the_same_logits()
    {
        using JsonDocument held = JsonDocument.Parse(File.ReadAllBytes(Held("expected.json")));
        int[] ids = TinyModels.Ids(held.RootElement.GetProperty("ids"));
        using LanguageModel tiny = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        Assert.Equal(held.RootElement.GetProperty("nola-tiny").GetString(), ((IModel)tiny).SampledIdentity);
        foreach (WeightFormat format in (WeightFormat[])[WeightFormat.Float32, WeightFormat.BFloat16])
        {
            using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device, format: format);
            Assert.Equal(held.RootElement.GetProperty("golden").GetString(), ((IModel)model).SampledIdentity);
            foreach (string name in (string[])["nola-v", "lora", "nola-v-4bit"])
            {
                using LoadedAdapter adapter = AdapterFile.Load(Held(name + ".safetensors"), model);
                double[] expected = [.. held.RootElement.GetProperty(name).EnumerateArray().Select(v => v.GetDouble())];
                // Another machine may sum in another order; bfloat16 weights have eight bits.
                OpCheck.Close(expected, model.Logits(ids, adapter)[^expected.Length..], format == WeightFormat.Float32 ? 2e-5 : 5e-2);
            }
        }
    }

    [Fact]
    public void Files_of_earlier_versions_are_refused_on_a_merged_model()
    {
        string file = Held("nola-v.safetensors"), merged = Path.Combine(directory, "merged");
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        using (LoadedAdapter adapter = AdapterFile.Load(file, model)) adapter.Merge();
        Assert.Contains("is another one", Refused(file, model));
        model.Save(merged);
        using LanguageModel saved = LanguageModel.Load(merged, device);
        Assert.Contains("is another one", Refused(file, saved));
        // Where the samples miss what was merged, this process still knows of it.
        using LanguageModel blind = LanguageModel.Create(wide, device, 1, trainable: false);
        string sampled = ((IModel)blind).SampledIdentity, old = Path.Combine(directory, "old");
        using (TrainableAdapter v = blind.NewAdapter(new NolaOptions { Bases = 8, Targets = ["v"] }))
        {
            TinyModels.Randomize(v, new Random(1));
            AdapterFiles.Write(v, old, metadata => metadata["base_identity"] = sampled);
            v.Merge();
        }
        Assert.Equal(sampled, ((IModel)blind).SampledIdentity);
        Assert.Contains("load 'new' again", Refused(old, blind));
    }

    private static string Held(string name) => Path.Combine(AppContext.BaseDirectory, "data", "adapters", name);

    private static string Refused(string path, LanguageModel model)
    {
        string message = Assert.Throws<NolaException>(() => AdapterFile.Load(path, model)).Message;
        return message;
    }
}
