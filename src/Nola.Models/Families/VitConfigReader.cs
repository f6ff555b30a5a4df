using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Reads the <c>config.json</c> of a vision transformer: Hugging Face's for ViT, DeiT, MAE and DINOv2, and timm's.</summary>
internal static partial class VitConfigReader
{
    // More classes than the largest set of pictures has.
    private const int MostLabels = 100_000;

    private static readonly string[] types = ["vit", "deit", "vit_mae", "dinov2"];

    private static readonly string[] timmArguments =
        ["img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "num_classes", "class_token"];

    /// <summary>Whether a configuration is one of a vision transformer that can be loaded.</summary>
    public static bool Recognizes(JsonElement root) =>
        root.ValueKind == JsonValueKind.Object && (types.Contains(Word(root, "model_type")) || TimmName(root).Success);

    /// <summary>Reads a configuration, and how pictures are prepared for it where that is said there.</summary>
    /// <exception cref="NolaException">It is none of a vision transformer, lacks something, or asks for what is not supported.</exception>
    public static (VitConfig Config, ImagePreprocessor? Preprocessing, bool IsTimm) Read(string path) =>
        Parse(InputFile.ReadAll(path, JsonInput.LargestConfig), path);

    /// <summary>The same of a file's text.</summary>
    public static (VitConfig Config, ImagePreprocessor? Preprocessing, bool IsTimm) Parse(ReadOnlyMemory<byte> json, string path)
    {
        using JsonDocument document = JsonInput.Parse(json, path);
        JsonElement root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object) throw new NolaException($"{path}: expected a JSON object.");
        ConfigFields fields = new(root, path);
        if (TimmName(root) is { Success: true } name) return OfTimm(fields, name);
        if (!types.Contains(Word(root, "model_type")))
            throw new NolaException(
                $"{path}: model_type is {fields.Shown("model_type")}; of vision models, {string.Join(", ", types)} and timm's vit_… and "
                + "deit_… are supported.");
        return (OfHuggingFace(fields), null, false);
    }

    private static VitConfig OfHuggingFace(ConfigFields fields)
    {
        bool deit = fields.Text("model_type") == "deit", dinov2 = fields.Text("model_type") == "dinov2";
        if (fields.Text("hidden_act") is { } activation && activation != "gelu")
            throw fields.Bad("hidden_act", "supported is \"gelu\", the form by the error function");
        if (fields.Size("num_channels") is { } colors && colors != VitConfig.Colors)
            throw fields.Bad("num_channels", "expected 3, red, green and blue");
        if (fields.Flag("use_swiglu_ffn") == true) throw fields.Bad("use_swiglu_ffn", "DINOv2 is supported with its ordinary MLP");
        // DINOv2's is for its pretraining, and nothing reads it afterwards.
        if (!dinov2 && fields.Flag("use_mask_token") == true) throw fields.Bad("use_mask_token", "such models cannot be loaded");
        QuantizationConfig.Check(fields);
        VitConfig config = new(
            fields.Size("num_hidden_layers") ?? 12, fields.Size("num_attention_heads") ?? 12, fields.Size("hidden_size") ?? 768,
            fields.Size("intermediate_size") ?? 3072, Side(fields, "image_size") ?? 224, Side(fields, "patch_size") ?? (dinov2 ? 14 : 16));
        if (dinov2) config = config with { Inner = Inner(fields, config.Channels), NormEpsilon = 1e-6f };
        string[] architectures = fields.Given("architectures") is { ValueKind: JsonValueKind.Array } list
            ? [.. list.EnumerateArray().Where(item => item.ValueKind == JsonValueKind.String).Select(item => item.GetString()!)]
            : [];
        config = config with
        {
            NormEpsilon = fields.Epsilon("layer_norm_eps") ?? config.NormEpsilon,
            QueryBias = fields.Flag("qkv_bias") ?? true,
            IsDeit = deit,
            IsDistilled = deit,
            IsDinov2 = dinov2,
            HasTeacher = architectures.Any(name => name.Contains("WithTeacher", StringComparison.Ordinal)),
            Labels = architectures.Any(name => name.Contains("ForImageClassification", StringComparison.Ordinal)) ? Labels(fields) : [],
        };
        config.Check(fields.Path);
        return config;
    }

    private static int Inner(ConfigFields fields, int channels)
    {
        double ratio = fields.Positive("mlp_ratio") ?? 4;
        return ratio <= 1000 ? (int)(channels * ratio) : throw fields.Bad("mlp_ratio", "expected at most 1000");
    }

    private static (VitConfig, ImagePreprocessor?, bool) OfTimm(ConfigFields fields, Match name)
    {
        if (fields.Text("global_pool") is { } pool && pool is not ("token" or ""))
            throw fields.Bad("global_pool", "only \"token\" is supported, the class token");
        ConfigFields? given = fields.Within("model_args");
        foreach (string argument in given?.Names ?? [])
            if (!timmArguments.Contains(argument)) throw given!.Bad(argument, "models with it are not supported");
        if (given?.Flag("class_token") == false) throw given.Bad("class_token", "models without a class token are not supported");
        VitConfig published = VitConfig.ByName("vit-" + name.Groups["size"].Value)!;
        int channels = given?.Size("embed_dim") ?? published.Channels;
        ConfigFields? pretrained = fields.Within("pretrained_cfg");
        VitConfig config = new(
            given?.Size("depth") ?? published.Layers, given?.Size("num_heads") ?? published.Heads, channels,
            given is null ? 4 * channels : Inner(given, channels),
            given?.Size("img_size") ?? ImageSide(pretrained) ?? Number("image"),
            given?.Size("patch_size") ?? Number("patch"))
        {
            NormEpsilon = 1e-6f,
            QueryBias = given?.Flag("qkv_bias") ?? true,
            IsDeit = name.Groups["distilled"].Success,
            IsDistilled = name.Groups["distilled"].Success,
            HasTeacher = name.Groups["distilled"].Success,
            Labels = Classes(fields, pretrained),
        };
        config.Check(fields.Path);
        return (config, pretrained is null ? null : ImagePreprocessor.OfTimm(pretrained, config.ImageSize), true);

        int Number(string group) => int.Parse(name.Groups[group].Value, CultureInfo.InvariantCulture);
    }

    private static int? ImageSide(ConfigFields? pretrained)
    {
        const string Key = "input_size";
        if (pretrained?.Given(Key) is not { } size) return null;
        int[] sides = size.ValueKind == JsonValueKind.Array
            ? [.. size.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int side) ? side : 0)]
            : [];
        return sides is [VitConfig.Colors, var height, var width] && height == width && height > 0
            ? height
            : throw pretrained.Bad(Key, "expected 3, and twice the pixels of a side");
    }

    private static string[] Classes(ConfigFields fields, ConfigFields? pretrained)
    {
        const string Key = "num_classes";
        JsonElement? given = fields.Given(Key) ?? pretrained?.Given(Key);
        if (given is not { } value) return Numbered(1000);
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int count) && count is >= 0 and <= MostLabels
            ? Numbered(count)
            : throw fields.Bad(Key, $"expected a whole number from 0 to {MostLabels}");
    }

    /// <summary>Names of classes that have none.</summary>
    public static string[] Numbered(int count) => [.. Enumerable.Range(0, count).Select(i => $"LABEL_{i}")];

    // From "0" on, without a gap. Hugging Face's default is two classes.
    private static string[] Labels(ConfigFields fields)
    {
        const string Key = "id2label";
        if (fields.Given(Key) is not { } value) return Numbered(2);
        if (value.ValueKind != JsonValueKind.Object) throw fields.Bad(Key, "expected an object from numbers to names");
        Dictionary<int, string> found = [];
        foreach (JsonProperty property in value.EnumerateObject())
        {
            if (!StrictNumber.TryWhole(property.Name, out int id) || id < 0 || property.Value.ValueKind != JsonValueKind.String
                || !found.TryAdd(id, property.Value.GetString()!))
                throw fields.Bad(Key, "expected an object from numbers to names");
        }
        if (found.Count is 0 or > MostLabels || found.Keys.Max() != found.Count - 1)
            throw fields.Bad(Key, $"expected the classes from 0 on without a gap, at most {MostLabels}");
        return [.. found.OrderBy(label => label.Key).Select(label => label.Value)];
    }

    // A number, or two equal ones.
    private static int? Side(ConfigFields fields, string name)
    {
        if (fields.Given(name) is not { ValueKind: JsonValueKind.Array } list) return fields.Size(name);
        return list.GetArrayLength() == 2 && list[0].ValueKind == JsonValueKind.Number && list[0].TryGetInt32(out int side) && side > 0
            && list[1].ValueKind == JsonValueKind.Number && list[1].TryGetInt32(out int other) && other == side
            ? side
            : throw fields.Bad(name, "only squares are supported");
    }

    private static string? Word(JsonElement root, string name) =>
        root.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static Match TimmName(JsonElement root) =>
        root.ValueKind == JsonValueKind.Object && !root.TryGetProperty("model_type", out _)
            ? TimmPattern().Match(Word(root, "architecture") ?? "")
            : Match.Empty;

    [GeneratedRegex(
        @"^(?:vit|deit)_(?<size>tiny|small|base|large|huge)(?<distilled>_distilled)?"
        + @"_patch(?<patch>[1-9]\d{0,2})_(?<image>[1-9]\d{1,3})(?:_in21k)?(?:\.\w+)?\z")]
    private static partial Regex TimmPattern();
}
