namespace Nola.Models;

/// <summary>
/// The three layouts of a vision transformer's files: Hugging Face's of old, whose names are the model's own here; what version 5 of
/// transformers calls the same modules; and timm's, with queries, keys and values as one tensor.
/// </summary>
internal static class VitLayouts
{
    private const string Block = "encoder.layer.";

    // Longer names first, since output.dense ends attention.output.dense too.
    private static readonly (string Own, string Name)[] version5 =
    [
        ("attention.attention.query", "attention.q_proj"), ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"), ("attention.output.dense", "attention.o_proj"),
        ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"),
    ];

    private static readonly (string Own, string Name)[] timmBlock =
    [
        ("attention.output.dense", "attn.proj"), ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"),
        ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
    ];

    private static readonly string[] timmFused =
        ["attention.attention.query", "attention.attention.key", "attention.attention.value"];

    private static readonly Dictionary<string, string> timm = new()
    {
        ["embeddings.cls_token"] = "cls_token",
        ["embeddings.distillation_token"] = "dist_token",
        ["embeddings.position_embeddings"] = "pos_embed",
        ["embeddings.patch_embeddings.projection"] = "patch_embed.proj",
        ["layernorm"] = "norm",
        ["classifier"] = "head",
        ["cls_classifier"] = "head",
        ["distillation_classifier"] = "head_dist",
    };

    /// <summary>Where the weights are in files with these names; null where they have the model's own.</summary>
    public static Func<string, WeightPlace>? Of(IReadOnlyCollection<string> names)
    {
        if (names.Contains("patch_embed.proj.weight")) return Timm;
        return names.Any(name => name.StartsWith("layers.", StringComparison.Ordinal)) ? Version5 : null;
    }

    /// <summary>Whether a tensor of a file is no weight of a classifier: the pooler, or what pretraining had beside the encoder.</summary>
    public static bool Skips(string name) =>
        name.StartsWith("pooler.", StringComparison.Ordinal) || name.StartsWith("decoder.", StringComparison.Ordinal)
        || name is "mask_token" or "embeddings.mask_token" or "decoder_pos_embed";

    private static WeightPlace Version5(string name)
    {
        if (!name.StartsWith(Block, StringComparison.Ordinal)) return new(name);
        (string layer, string rest) = Parts(name);
        return new($"layers.{layer}.{Renamed(rest, version5)}");
    }

    private static WeightPlace Timm(string name)
    {
        if (!name.StartsWith(Block, StringComparison.Ordinal))
        {
            foreach ((string own, string theirs) in timm)
                if (name == own || name.StartsWith(own + ".", StringComparison.Ordinal)) return new(theirs + name[own.Length..]);
            return new(name);
        }
        (string layer, string rest) = Parts(name);
        int part = Array.FindIndex(timmFused, own => rest.StartsWith(own + ".", StringComparison.Ordinal));
        if (part >= 0) return new($"blocks.{layer}.attn.qkv{rest[timmFused[part].Length..]}", part, timmFused.Length);
        return new($"blocks.{layer}.{Renamed(rest, timmBlock)}");
    }

    private static (string Layer, string Name) Parts(string name)
    {
        int dot = name.IndexOf('.', Block.Length);
        return (name[Block.Length..dot], name[(dot + 1)..]);
    }

    private static string Renamed(string rest, (string Own, string Name)[] names)
    {
        foreach ((string own, string name) in names)
            if (rest.StartsWith(own + ".", StringComparison.Ordinal)) return name + rest[own.Length..];
        return rest;
    }
}
