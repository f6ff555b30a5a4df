using System.Text.Json.Nodes;
using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>PEFT directories: what the configuration names must be there, and what would change the output must be understood.</summary>
public sealed class PeftFileTests : IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly LanguageModel model;
    private readonly JsonObject config;

    public PeftFileTests()
    {
        model = LanguageModel.Load(TinyModels.Golden, device);
        using (TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 2, Targets = ["c_attn", "c_proj"] }))
        {
            TinyModels.Randomize(adapter, new Random(1));
            PeftFiles.Save(adapter, directory);
        }
        config = JsonNode.Parse(File.ReadAllText(Config))!.AsObject();
        config["target_modules"] = new JsonArray("c_attn", "c_proj");
    }

    private string Config => Path.Combine(directory, "adapter_config.json");

    private string Weights => Path.Combine(directory, "adapter_model.safetensors");

    public void Dispose()
    {
        model.Dispose();
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData(7.3f)]
    [InlineData(2147483647f)]
    [InlineData(1.2345678e-7f)]
    [InlineData(1.5e30f)]
    public void Alpha_is_exported_to_the_bit(float alpha)
    {
        string again = Path.Combine(directory, "again");
        using (TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 3, Alpha = alpha, Targets = ["c_attn"] }))
            PeftFiles.Save(adapter, again);
        using LoadedAdapter loaded = PeftFiles.Load(again, model);
        Assert.Equal((3, alpha), (loaded.Options.Rank, loaded.Options.Alpha));
    }

    [Theory]
    [InlineData("""["c_attn", "c_proj"]""")]
    [InlineData("""["attn.c_attn", "attn.c_proj", "mlp.c_proj"]""")]
    [InlineData("""["c_attn", "c_proj", "not_in_this_model"]""")]
    [InlineData("""  ".*\\.c_(attn|proj)" """)]
    [InlineData("""  "transformer\\.h\\.\\d+\\.(attn|mlp)\\.c_(attn|proj)" """)]
    public void The_same_modules_in_PEFTs_ways_of_naming_them_load(string targets)
    {
        config["target_modules"] = JsonNode.Parse(targets);
        using Adapter adapter = Load();
        Assert.Equal(
            "attn.c_proj:0,1 mlp.c_proj:0,1 attn.c_attn:0,1",
            string.Join(' ', adapter.Groups.Select(m => $"{m.Kind}:{string.Join(',', m.Layers)}")));
    }

    [Fact]
    public void Excluded_modules_and_chosen_layers_load_by_PEFTs_rules()
    {
        Keep(name => name.Contains("h.1.") && !name.Contains("mlp"));
        config["exclude_modules"] = new JsonArray("mlp.c_proj");
        foreach (JsonNode layers in (JsonNode[])[new JsonArray(1), JsonValue.Create(1)])
        {
            config["layers_to_transform"] = layers;
            Load().Dispose();
        }
        config["layers_pattern"] = "h";
        Load().Dispose();
        config["layers_pattern"] = "blocks";
        Assert.Contains("has factors for transformer.h.1.attn.c_proj, which target_modules", Refused());
    }

    [Property(MaxTest = 15)]
    public void Modules_have_the_ranks_and_alphas_of_the_first_pattern_that_ends_their_names(int seed)
    {
        Random r = new(seed);
        bool stabilized = r.Next(2) == 0;
        string[] modules = ["h.0.attn.c_attn", "h.1.attn.c_attn", "h.0.mlp.c_proj", "h.1.mlp.c_proj", "h.0.attn.c_proj"];
        // The second pattern of h.1.attn.c_attn is not asked.
        (string Pattern, int Rank, float Alpha)[] table =
        [
            ("h.1.attn.c_attn", 1 + r.Next(6), 1 + r.Next(9)), ("c_attn", 1 + r.Next(6), 1 + r.Next(9)),
            (@"transformer\.h\.[0-9]+\.mlp\..*", 1 + r.Next(6), 0.5f), ("_proj", 9, 9),
        ];
        (int Rank, float Alpha)[] own = [At(1), At(0), At(2), At(2), (3, 4)];
        using LanguageModel merged = LanguageModel.Load(TinyModels.Golden, device, trainable: true);
        List<SafetensorsTensor> tensors = [];
        for (int i = 0; i < modules.Length; i++)
        {
            LoraOptions options =
                new() { Rank = own[i].Rank, Alpha = own[i].Alpha, RankStabilized = stabilized, Targets = [modules[i]] };
            using TrainableAdapter one = merged.NewAdapter(options);
            TinyModels.Randomize(one, r, 0.2);
            string place = Path.Combine(directory, $"{seed}-{i}");
            PeftFiles.Save(one, place);
            using Safetensors file = Safetensors.Open(Path.Combine(place, "adapter_model.safetensors"));
            tensors.AddRange(file.Entries.Select(entry =>
                new SafetensorsTensor(entry.Name, Shape.Create([.. entry.Shape.Select(d => (int)d)]), file.ReadFinite(entry))));
            one.Merge();
        }
        SafetensorsWriter.Write(Weights, tensors);
        JsonObject all = config.DeepClone().AsObject();
        (all["r"], all["lora_alpha"], all["use_rslora"]) = (3, 4, stabilized);
        all["target_modules"] = new JsonArray([.. modules.Select(module => (JsonNode)module)]);
        all["rank_pattern"] = new JsonObject(table.Select(row => KeyValuePair.Create(row.Pattern, (JsonNode?)row.Rank)));
        all["alpha_pattern"] = new JsonObject(table.Select(row => KeyValuePair.Create(row.Pattern, (JsonNode?)row.Alpha)));
        File.WriteAllText(Config, all.ToJsonString());
        using LoadedAdapter loaded = PeftFiles.Load(directory, model);
        int[] ids = TinyModels.Ids(r, 12, 61);
        OpCheck.Close(OpCheck.Wide(merged.Logits(ids)), model.Logits(ids, loaded), 5e-5);

        (int, float) At(int row) => (table[row].Rank, table[row].Alpha);
    }

    [Fact]
    public void A_scale_of_a_module_s_own_that_leaves_float32_is_refused()
    {
        AdapterFiles.Change(Weights, Weights, null, all =>
        {
            int at = all.FindIndex(tensor => tensor.Name.EndsWith("h.1.attn.c_attn.lora_B.weight", StringComparison.Ordinal));
            all[at] = new(all[at].Name, all[at].Shape, [.. all[at].Values().Select(value => value * 1000)]);
        });
        config["alpha_pattern"] = JsonNode.Parse("""{"h.1.attn.c_attn": 3e38}""");
        Assert.Contains(
            "the scale of h.1.attn.c_attn is 1.5e+38, with which its lora_B is not finite in float32.", Refused());
    }

    [Fact]
    public void A_missing_module_or_layer_is_named()
    {
        Keep(name => !name.Contains("mlp"));
        Assert.Contains("has no factors for transformer.h.0.mlp.c_proj, which target_modules", Refused());
        config["target_modules"] = new JsonArray("attn.c_attn", "attn.c_proj");
        Load().Dispose();
        Keep(name => !name.Contains("h.1."));
        Assert.Contains("has no factors for transformer.h.1.attn.c_proj", Refused());
        config["target_modules"] = new JsonArray("attn.c_attn");
        Assert.Contains("has factors for transformer.h.0.attn.c_proj, which target_modules", Refused());
    }

    [Theory]
    [InlineData("wte", "transformer.wte")]
    [InlineData("lm_head", "lm_head")]
    public void A_missing_embedding_or_head_is_named(string module, string name)
    {
        config["target_modules"]!.AsArray().Add(module);
        Assert.Contains($"has no factors for {name}, which target_modules", Refused());
    }

    [Theory]
    [InlineData("wpe")]
    [InlineData("transformer.wpe")]
    public void A_target_that_cannot_be_loaded_is_named(string module)
    {
        config["target_modules"]!.AsArray().Add(module);
        Assert.Contains("target_modules names", Refused());
    }

    [Theory]
    [InlineData("modules_to_save", """["lm_head"]""", "has none of lm_head.weight, and modules_to_save of ")]
    [InlineData("modules_to_save", """["wte", "lm_head"]""", "expected lm_head alone, the heads of this model")]
    [InlineData("rank_pattern", """{"c_attn": 8}""", "need [8, 48]")]
    [InlineData("rank_pattern", """{"h.1.attn.c_attn": 0}""", "; expected whole numbers from 1.")]
    [InlineData("rank_pattern", """{"c_attn": 2.5}""", "; expected whole numbers from 1.")]
    [InlineData("rank_pattern", """{"(": 2}""", "rank_pattern is no pattern that can be read")]
    [InlineData("rank_pattern", """[2]""", "; expected an object, whose keys are patterns of names.")]
    [InlineData("alpha_pattern", """{"c_attn": 0}""", "; expected finite numbers above 0.")]
    [InlineData("alpha_pattern", """{"c_attn": "8"}""", "; expected finite numbers above 0.")]
    [InlineData("alpha_pattern", """{"(t*)*(r*)*([a-z]*)*([a-z.0-9_]*)*!": 8}""", "takes too long to match")]
    [InlineData("use_rslora", "1", "use_rslora is '1'; expected true or false")]
    [InlineData("use_dora", "true", "has no lora_magnitude_vector of ")]
    [InlineData("use_dora", "\"yes\"", "use_dora is '\"yes\"'; expected true or false")]
    [InlineData("lora_bias", "true", "'lora_bias' is 'true'")]
    [InlineData("layer_replication", "[[0, 2]]", "'layer_replication' is")]
    [InlineData("trainable_token_indices", "[1]", "'trainable_token_indices' is")]
    [InlineData("of_a_newer_version", "1", "'of_a_newer_version' is '1'")]
    [InlineData("bias", "\"all\"", "has no bias of h.0.ln_1, which the configuration's bias asks for")]
    [InlineData("bias", "\"some\"", "bias is '\"some\"'; expected 'none'")]
    [InlineData("init_lora_weights", "\"pissa\"", "init_lora_weights is '\"pissa\"'; expected true, false")]
    [InlineData("peft_type", "null", "peft_type is ''; only LORA")]
    [InlineData("peft_type", "5", "peft_type is '5'; only LORA")]
    [InlineData("r", "0", "r is '0'; expected a whole number from 1")]
    [InlineData("r", "\"2\"", "expected a whole number from 1")]
    [InlineData("r", "2000000000", "need [2000000000, 48]")]
    [InlineData("lora_alpha", "1e400", "lora_alpha is '1e400'; expected a finite number above 0")]
    [InlineData("lora_alpha", "0", "lora_alpha is '0'")]
    [InlineData("lora_alpha", "null", "it has no lora_alpha")]
    [InlineData("target_modules", "[3]", "target_modules is '3'; expected text")]
    [InlineData("target_modules", "\"(\"", "target_modules is no pattern that can be read")]
    [InlineData("target_modules", "\"(t*)*(r*)*([a-z]*)*([a-z.0-9_]*)*!\"", "takes too long to match")]
    [InlineData("layers_to_transform", "[-1]", "layers_to_transform is '[-1]'; expected whole numbers from 0")]
    public void What_would_change_the_output_is_refused_by_name(string key, string value, string expected)
    {
        config[key] = JsonNode.Parse(value);
        Assert.Contains(expected, Refused());
    }

    [Theory]
    [InlineData("{\"peft_type\": \"LORA\", \"peft_type\": \"LORA\"}", "there twice")]
    [InlineData("{\"peft_type\": \"\\ud83d\"}", "half of a character")]
    [InlineData("[]", "not a PEFT configuration")]
    [InlineData("{", "not valid JSON")]
    public void A_configuration_that_is_no_JSON_object_is_refused(string json, string expected)
    {
        File.WriteAllText(Config, json);
        Assert.Contains(expected, Assert.Throws<NolaException>(() => AdapterFile.Load(directory, model)).Message);
    }

    [Theory]
    [InlineData("h.99999999999.attn.c_attn", "is not a LoRA factor of attn.")]
    [InlineData("h.2.attn.c_attn", "of this model. Is it for another base model?")]
    [InlineData("h.٠.attn.c_attn", "is not a LoRA factor")]
    [InlineData("h.00.attn.c_attn", "is not a LoRA factor")]
    [InlineData("x.h.0.attn.c_attn", "expected all with the same beginning")]
    public void A_layer_that_is_none_is_refused(string module, string expected)
    {
        Change(all => all.Add(new SafetensorsTensor($"base_model.model.transformer.{module}.lora_A.weight", [2, 48], new float[96])));
        Assert.Contains(expected, Refused());
    }

    [Fact]
    public void A_factor_that_is_not_finite_is_named()
    {
        Change(all =>
        {
            float[] values = all[1].Values();
            values[5] = float.NaN;
            all[1] = new SafetensorsTensor(all[1].Name, all[1].Shape, values);
        });
        Assert.Contains("element 5 of tensor 'base_model.model.transformer.h.", Refused());
    }

    private void Keep(Func<string, bool> kept) => Change(all => all.RemoveAll(t => !kept(t.Name)));

    private void Change(Action<List<SafetensorsTensor>> change) => AdapterFiles.Change(Weights, Weights, null, change);

    private LoadedAdapter Load()
    {
        File.WriteAllText(Config, config.ToJsonString());
        return AdapterFile.Load(directory, model);
    }

    private string Refused()
    {
        long before = device.Pool.LiveBytes;
        string message = Assert.Throws<NolaException>(Load).Message;
        Assert.Equal(before, device.Pool.LiveBytes);
        // Whatever is wrong, the directory is named.
        Assert.Contains(directory, message);
        return message;
    }
}
