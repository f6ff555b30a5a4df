using System.Text;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Fuzz;

/// <summary>Model directories: loaded, run on a few tokens, and now and then saved and loaded again.</summary>
/// <param name="name">What it is called.</param>
/// <param name="damage">Which file is damaged: its configuration, its weights or its index.</param>
/// <param name="examples">The models.</param>
internal sealed class ModelKind(string name, string damage, ModelConfig[] examples) : FilesKind(name)
{
    private const string Config = "config.json", Single = "model.safetensors", Index = "model.safetensors.index.json";

    /// <summary>All kinds of model files.</summary>
    public static IEnumerable<FuzzKind> All() =>
    [
        new ModelKind("config", Config, gpt2), new ModelKind("checkpoint", Single, gpt2), new ModelKind("index", Index, gpt2),
        new ModelKind("config-llama", Config, llamas), new ModelKind("checkpoint-llama", Single, llamas),
    ];

    private static readonly Gpt2Config[] gpt2 =
        [.. ((bool[])[true, false]).Select(tied => new Gpt2Config(2, 2, 8, 11, 6) { TiedHead = tied, Inner = tied ? 32 : 20 })];

    // What each of the family has that the others do not.
    private static readonly LlamaConfig[] llamas =
    [
        new("llama", 2, 4, 2, 4, 8, 12, 11, 9)
        {
            Rotary = new(500000, "llama3", 32, 1, 4, 8), AttentionBias = true, MlpBias = true, TiedHead = true,
        },
        new("mistral", 2, 2, 1, 6, 8, 12, 11, 9) { Window = 4, Rotary = new(10000, "linear", 2) },
        new("qwen2", 2, 2, 2, 4, 8, 12, 11, 9),
        new("qwen3", 2, 2, 1, 4, 8, 12, 11, 9) { Window = 3 },
    ];

    public override void Prepare(Bench bench)
    {
        foreach (ModelConfig sizes in examples)
        {
            using LanguageModel model = LanguageModel.Create(sizes, bench.Device, 9);
            model.Save(bench.Output);
            byte[] config = File.ReadAllBytes(bench.Saved(Config)), weights = File.ReadAllBytes(bench.Saved(Single));
            if (damage == Index) AddShards(config, weights);
            else if (damage == Config) Add((Config, JsonMutator.Mutate, config), (Single, null, weights));
            else Add((Config, null, config), (Single, SafetensorsMutator.Mutate, weights));
        }
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        if (damage == Config) RoundTrip(Path.Combine(directory, Config));
        string identity;
        using (LanguageModel model = LanguageModel.Load(directory, bench.Device))
        {
            bench.Accepted = true;
            identity = model.Identity;
            _ = model.Logits([1, 2, 3]);
            if (!dice.Once(4)) return;
            model.Save(bench.Output);
        }
        using LanguageModel again = LanguageModel.Load(bench.Output, bench.Device);
        if (again.Identity != identity)
            throw new FuzzException($"the model's identity changed from {identity} to {again.Identity} when it was saved again");
    }

    private static void RoundTrip(string path)
    {
        if (!File.Exists(path)) return;
        ModelConfig config = ModelFamilies.Parse(File.ReadAllBytes(path), path);
        ModelConfig again = ModelFamilies.Parse(Encoding.UTF8.GetBytes(config.ToJson()), path);
        if (config.Description != again.Description || config.ToJson() != again.ToJson())
            throw new FuzzException($"{config} became {again} when it was written again");
        _ = config.ParameterCount;
    }

    private void AddShards(byte[] config, byte[] weights)
    {
        SafetensorsImage whole = SafetensorsImage.Parse(weights), first = new(), second = new();
        StringBuilder map = new();
        foreach (ImageTensor tensor in whole.Tensors)
        {
            bool early = tensor.Name.StartsWith("h.0", StringComparison.Ordinal);
            (early ? first : second).Tensors.Add(tensor);
            map.Append(map.Length > 0 ? "," : "").Append($"\"{tensor.Name}\": \"model-0000{(early ? 1 : 2)}-of-00002.safetensors\"");
        }
        string index = $"{{\"metadata\": {{\"total_size\": 1234}}, \"weight_map\": {{{map}}}}}";
        Add(
            (Config, null, config),
            (Index, JsonMutator.Mutate, Encoding.UTF8.GetBytes(index)),
            ("model-00001-of-00002.safetensors", null, first.ToBytes()),
            ("model-00002-of-00002.safetensors", null, second.ToBytes()));
    }
}

/// <summary>Tokenizer files of a model: read, and text encoded and decoded.</summary>
internal sealed class TokenizerKind() : FilesKind("tokenizer", 2)
{
    private const string Vocabulary = "vocab.json", MergesName = "merges.txt";

    public override void Prepare(Bench bench)
    {
        List<string> tokens = [.. Enumerable.Range('!', 94).Select(c => ((char)c).ToString()), "Ġ", "Ċ", "Ã", "©"];
        string[] merges = ["t h", "th e", "Ġ the", "i n", "Ġ a"];
        tokens.AddRange([.. merges.Select(m => m.Replace(" ", "")), "<|endoftext|>"]);
        string vocabulary = "{" + string.Join(", ", tokens.Select((t, i) => $"{System.Text.Json.JsonSerializer.Serialize(t)}: {i}")) + "}";
        Add(
            (Vocabulary, JsonMutator.Mutate, Encoding.UTF8.GetBytes(vocabulary)),
            (MergesName, TextMutator.Mutate, Encoding.UTF8.GetBytes("#version: 0.2\n" + string.Join('\n', merges) + "\n")));
    }

    public override void Run(Bench bench, string directory, Dice dice)
    {
        Gpt2Tokenizer tokenizer = Gpt2Tokenizer.FromFiles(Path.Combine(directory, Vocabulary), Path.Combine(directory, MergesName));
        bench.Accepted = true;
        _ = tokenizer.Decode(tokenizer.Encode("the thin cat in the hat, élan 😀\n\n  12"));
        _ = tokenizer.Decode([0, Math.Max(0, tokenizer.Vocabulary - 1)]);
    }
}
