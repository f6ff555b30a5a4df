using System.Globalization;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Sizes of a vision transformer, with the names of Hugging Face's <c>config.json</c> in the remarks of each.</summary>
/// <param name="Layers">Number of blocks (<c>num_hidden_layers</c>).</param>
/// <param name="Heads">Attention heads (<c>num_attention_heads</c>).</param>
/// <param name="Channels">Width of the residual stream, C (<c>hidden_size</c>).</param>
/// <param name="Inner">Width of the MLP, I (<c>intermediate_size</c>).</param>
/// <param name="ImageSize">Pixels of a side of the square images that it reads (<c>image_size</c>).</param>
/// <param name="PatchSize">Pixels of a side of a patch, which divides the image's (<c>patch_size</c>).</param>
public sealed record VitConfig(int Layers, int Heads, int Channels, int Inner, int ImageSize, int PatchSize)
{
    /// <summary>Red, green and blue.</summary>
    internal const int Colors = 3;

    /// <summary>ε of the layer norms (<c>layer_norm_eps</c>): 1e-12 in Hugging Face's files, 1e-6 in timm's.</summary>
    public float NormEpsilon { get; init; } = 1e-12f;

    /// <summary>Whether queries, keys and values have biases (<c>qkv_bias</c>).</summary>
    public bool QueryBias { get; init; } = true;

    /// <summary>Whether it has DeiT's distillation token, with a position of its own.</summary>
    public bool IsDistilled { get; init; }

    /// <summary>Whether the distillation token has a classifier of its own, and the logits are the mean of two.</summary>
    public bool HasTeacher { get; init; }

    /// <summary>Whether its files are DeiT's (<c>model_type</c> is <c>deit</c>).</summary>
    public bool IsDeit { get; init; }

    /// <summary>
    /// Whether it is a DINOv2 (<c>model_type</c> is <c>dinov2</c>): what a block adds is multiplied by trained vectors, and the classifier
    /// reads the class token and the mean of the patches.
    /// </summary>
    public bool IsDinov2 { get; init; }

    /// <summary>What the classes are called, in their order (<c>id2label</c>); empty where there is no classifier.</summary>
    public IReadOnlyList<string> Labels { get; init; } = [];

    /// <summary>
    /// The published sizes: <c>vit-tiny</c>, <c>vit-small</c>, <c>vit-base</c>, <c>vit-large</c>, <c>vit-huge</c>; null for another name.
    /// </summary>
    /// <param name="name">One of these.</param>
    /// <param name="imageSize">Pixels of a side of an image.</param>
    /// <param name="patchSize">Pixels of a side of a patch.</param>
    public static VitConfig? ByName(string name, int imageSize = 224, int patchSize = 16) => name switch
    {
        "vit-tiny" => new(12, 3, 192, 768, imageSize, patchSize),
        "vit-small" => new(12, 6, 384, 1536, imageSize, patchSize),
        "vit-base" => new(12, 12, 768, 3072, imageSize, patchSize),
        "vit-large" => new(24, 16, 1024, 4096, imageSize, patchSize),
        "vit-huge" => new(32, 16, 1280, 5120, imageSize, patchSize),
        _ => null,
    };

    /// <summary>P: patches of an image.</summary>
    public int Patches => ImageSize / PatchSize * (ImageSize / PatchSize);

    /// <summary>Number of trained values.</summary>
    public long ParameterCount
    {
        get
        {
            long c = Channels, i = Inner, block = 4 * c + 4 * c * c + (QueryBias ? 4 : 1) * c + 2 * c * i + i + c;
            long embeddings = (Prefix + Tokens) * c + PatchColumns * c + c;
            if (IsDinov2) block += 2 * c;
            return embeddings + Layers * block + 2 * c + Classifiers.Count * (ClassifierInputs + 1L) * Labels.Count;
        }
    }

    /// <summary>Tokens of a sequence before its patches.</summary>
    internal int Prefix => IsDistilled ? 2 : 1;

    /// <summary>T: tokens of an image.</summary>
    internal int Tokens => Prefix + Patches;

    /// <summary>Width of what a classifier reads.</summary>
    internal int ClassifierInputs => IsDinov2 ? 2 * Channels : Channels;

    /// <summary>Pixels of a patch, with their colors.</summary>
    internal int PatchColumns => Colors * PatchSize * PatchSize;

    /// <summary>Each token sees all of its image.</summary>
    internal AttentionLayout Attention => new(Heads, Heads, Channels / Heads, causal: false);

    /// <summary>What is called so in prose.</summary>
    internal string Title => IsDeit ? "DeiT" : IsDinov2 ? "Dinov2" : "ViT";

    /// <summary>What may stand before the names of tensors.</summary>
    internal string NamePrefix => IsDeit ? "deit." : IsDinov2 ? "dinov2." : "vit.";

    /// <summary>The checkpoint's names of the classifiers.</summary>
    internal IReadOnlyList<string> Classifiers => Labels.Count == 0 ? []
        : HasTeacher ? ["cls_classifier", "distillation_classifier"] : ["classifier"];

    /// <summary>One line with all that shapes the output besides the weights. It enters identities: never change it.</summary>
    internal string Description => string.Create(
        CultureInfo.InvariantCulture,
        $"vit {Layers} {Heads} {Channels} {Inner} {ImageSize} {PatchSize} {BitConverter.SingleToUInt32Bits(NormEpsilon):x8}"
        + $"{(IsDistilled ? " distilled" : "")}{(HasTeacher ? " teacher" : "")}{(IsDinov2 ? " dinov2" : "")}");

    /// <summary>Refuses sizes that no model can have.</summary>
    /// <param name="place">Where they came from, for messages.</param>
    /// <exception cref="NolaException">A size is out of range.</exception>
    public void Check(string place)
    {
        (string, int)[] sizes =
        [
            ("num_hidden_layers", Layers), ("num_attention_heads", Heads), ("hidden_size", Channels), ("intermediate_size", Inner),
            ("image_size", ImageSize), ("patch_size", PatchSize),
        ];
        foreach ((string name, int size) in sizes) ConfigFields.CheckSize(size, name, place);
        if (Channels % Heads != 0)
            throw new NolaException(
                $"{place}: hidden_size is {Channels} and num_attention_heads {Heads}; num_attention_heads must divide hidden_size.");
        if (ImageSize % PatchSize != 0)
            throw new NolaException(
                $"{place}: image_size is {ImageSize} and patch_size {PatchSize}; an image must be a whole number of patches wide.");
        if (!(NormEpsilon >= 0 && float.IsFinite(NormEpsilon)))
            throw new NolaException($"{place}: layer_norm_eps is {NormEpsilon}; expected a finite number from 0.");
        long side = ImageSize / PatchSize, tokens = side * side + Prefix;
        long pixels = (long)Colors * PatchSize * PatchSize;
        long widest = Math.Max(3L * Channels, Math.Max(Inner, Labels.Count * (long)ClassifierInputs / Channels));
        long largest = Channels * Math.Max(Math.Max(tokens, pixels), widest);
        if (largest > int.MaxValue || pixels * side * side > int.MaxValue)
            throw new NolaException(
                $"{place}: these sizes make a weight of {largest} elements; this version holds at most {int.MaxValue} in one.");
    }

    /// <summary>
    /// Initial values of a new weight: N(0, 0.02²) for matrices, tokens and positions as Hugging Face begins, 1 for the scale of a norm or
    /// a layer, and 0 for biases and classifiers.
    /// </summary>
    /// <param name="name">The checkpoint's name.</param>
    /// <param name="mean">1 for the scale of a norm or a layer, else 0.</param>
    internal float Deviation(string name, out float mean)
    {
        bool bias = name.EndsWith(".bias", StringComparison.Ordinal);
        bool norm = name.Contains("layernorm", StringComparison.Ordinal) || name.Contains(".norm", StringComparison.Ordinal)
            || name.EndsWith(".lambda1", StringComparison.Ordinal);
        mean = norm && !bias ? 1 : 0;
        return bias || norm || name.Contains("classifier.", StringComparison.Ordinal) ? 0 : 0.02f;
    }

    /// <summary>The configuration as Hugging Face writes it.</summary>
    public string ToJson()
    {
        string kind = Labels.Count == 0 ? "Model" : HasTeacher ? "ForImageClassificationWithTeacher" : "ForImageClassification";
        Dictionary<string, object> fields = new()
        {
            ["model_type"] = IsDeit ? "deit" : IsDinov2 ? "dinov2" : "vit",
            ["architectures"] = new[] { Title + kind },
            ["hidden_size"] = Channels,
            ["num_hidden_layers"] = Layers,
            ["num_attention_heads"] = Heads,
            ["intermediate_size"] = Inner,
            ["hidden_act"] = "gelu",
            ["layer_norm_eps"] = StrictNumber.Shortest(NormEpsilon),
            ["image_size"] = ImageSize,
            ["patch_size"] = PatchSize,
            ["num_channels"] = Colors,
            ["qkv_bias"] = QueryBias,
        };
        if (IsDinov2)
        {
            (fields["layerscale_value"], fields["use_swiglu_ffn"]) = (1, false);
            fields["mlp_ratio"] = Inner % Channels == 0 ? Inner / Channels : (double)Inner / Channels;
        }
        if (Labels.Count > 0)
        {
            fields["id2label"] = Labels.Select((label, i) => (Key: i.ToString(CultureInfo.InvariantCulture), label))
                .ToDictionary(pair => pair.Key, pair => pair.label);
            // Two classes of one name are two classes; the other direction then knows the first.
            fields["label2id"] = Labels.Select((label, i) => (label, i)).DistinctBy(pair => pair.label)
                .ToDictionary(pair => pair.label, pair => pair.i);
        }
        return JsonSerializer.Serialize(fields, JsonForms.Indented);
    }
}
