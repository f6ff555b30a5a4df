using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>A family of models, by the <c>model_type</c> of its <c>config.json</c>.</summary>
public abstract class ModelFamily
{
    /// <summary>The value of <c>model_type</c>, for example <c>gpt2</c>.</summary>
    public abstract string ModelType { get; }

    /// <summary>What it is called in prose, for example GPT-2.</summary>
    public abstract string Title { get; }

    /// <summary>What some files put before the names of all tensors, for example <c>transformer.</c>; empty for nothing.</summary>
    public virtual string Prefix => "";

    /// <summary>Reads a configuration.</summary>
    /// <param name="root">The object in the file.</param>
    /// <param name="path">Where it came from, for messages.</param>
    /// <exception cref="NolaException">It lacks something, contradicts itself, or asks for what the family does not have.</exception>
    public abstract ModelConfig Parse(JsonElement root, string path);

    /// <summary>Whether a tensor of a file is no weight and is passed over, as the causal masks of old checkpoints are.</summary>
    /// <param name="name">Its name, without the prefix.</param>
    public virtual bool Skips(string name) => false;

    /// <summary>
    /// Whether its models are used as GPT-2 is: with its tokens where they have no tokenizer files and as large a vocabulary, and with
    /// examples in the form that LoRA and NOLA taught it.
    /// </summary>
    public virtual bool HasGpt2Tokens => true;

    /// <summary>Whether a configuration without a <c>model_type</c> is of this family.</summary>
    /// <param name="root">The object in the file.</param>
    public virtual bool Recognizes(JsonElement root) => false;
}

/// <summary>The families that can be loaded.</summary>
public static class ModelFamilies
{
    private static readonly List<ModelFamily> known = [Gpt2Family.Instance, .. LlamaFamily.All];
    private static readonly Lock gate = new();

    /// <summary>All of them.</summary>
    public static IReadOnlyList<ModelFamily> Known
    {
        get
        {
            lock (gate) return [.. known];
        }
    }

    /// <summary>Adds a family of one's own, at the start of a program.</summary>
    /// <exception cref="ArgumentException">Its model type is taken.</exception>
    public static void Add(ModelFamily family)
    {
        lock (gate)
        {
            if (known.Any(f => f.ModelType == family.ModelType))
                throw new ArgumentException($"ModelFamilies.Add: there is a family for model_type '{family.ModelType}' already.");
            known.Add(family);
        }
    }

    /// <summary>The configuration in a <c>config.json</c>.</summary>
    /// <param name="json">Its UTF-8 text.</param>
    /// <param name="path">Where it came from, for messages.</param>
    /// <exception cref="NolaException">It is no JSON object, or of no family that can be loaded, or its family refuses it.</exception>
    public static ModelConfig Parse(ReadOnlyMemory<byte> json, string path)
    {
        using JsonDocument document = JsonInput.Parse(json, path);
        JsonElement root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object) throw new NolaException($"{path}: expected a JSON object.");
        return (Find(root) ?? throw new NolaException($"{path}: {Unknown(root)}")).Parse(root, path);
    }

    internal static ModelConfig Read(string path) => Parse(InputFile.ReadAll(path, JsonInput.LargestConfig), path);

    /// <summary>The family of a configuration, or null.</summary>
    internal static ModelFamily? Find(JsonElement root)
    {
        bool typed = root.TryGetProperty("model_type", out JsonElement type) && type.ValueKind != JsonValueKind.Null;
        if (!typed) return Known.FirstOrDefault(family => family.Recognizes(root));
        return type.ValueKind == JsonValueKind.String ? Known.FirstOrDefault(family => family.ModelType == type.GetString()) : null;
    }

    private static string Unknown(JsonElement root)
    {
        if (VitConfigReader.Recognizes(root))
            return "it is a vision transformer, which reads images and no text; load it as a vision model.";
        string supported = string.Join(", ", Known.Select(family => $"\"{family.ModelType}\""));
        return root.TryGetProperty("model_type", out JsonElement type)
            ? $"model_type is {NolaException.OneLine(type.GetRawText(), 60)}; supported is {supported}."
            : $"model_type is missing; supported is {supported}.";
    }
}
