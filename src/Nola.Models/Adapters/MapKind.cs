namespace Nola.Models;

/// <summary>
/// The kinds of linear map that an adapter can be on. The numbers enter the random streams (docs/basis.md): never change them.
/// </summary>
public enum MapKind
{
    /// <summary>The query third of <c>attn.c_attn</c>.</summary>
    Q = 0,

    /// <summary>The key third of <c>attn.c_attn</c>.</summary>
    K = 1,

    /// <summary>The value third of <c>attn.c_attn</c>.</summary>
    V = 2,

    /// <summary><c>attn.c_proj</c>.</summary>
    AttnProj = 3,

    /// <summary><c>mlp.c_fc</c>.</summary>
    Fc = 4,

    /// <summary><c>mlp.c_proj</c>.</summary>
    MlpProj = 5,

    /// <summary><c>attn.c_attn</c> whole, as Hugging Face PEFT adapts it.</summary>
    CAttn = 6,
}

/// <summary>Names, sizes and places of the kinds.</summary>
internal static class MapKinds
{
    /// <summary>All kinds, in the order of their numbers.</summary>
    public static readonly MapKind[] All = Enum.GetValues<MapKind>();

    /// <summary>The name inside a block: <c>attn.q</c>, <c>attn.k</c>, <c>attn.v</c> or the checkpoint's.</summary>
    public static string Name(this MapKind kind) => kind switch
    {
        MapKind.Q => "attn.q",
        MapKind.K => "attn.k",
        MapKind.V => "attn.v",
        MapKind.AttnProj => "attn.c_proj",
        MapKind.Fc => "mlp.c_fc",
        MapKind.MlpProj => "mlp.c_proj",
        _ => "attn.c_attn",
    };

    /// <summary>The name of the checkpoint's map that the kind is, or is a part of.</summary>
    public static string MapName(this MapKind kind, int layer) =>
        $"h.{layer}." + (kind is MapKind.Q or MapKind.K or MapKind.V ? "attn.c_attn" : kind.Name());

    /// <summary>Inputs, outputs, and the first column of the checkpoint's map.</summary>
    public static (int In, int Out, int Column) Sizes(this MapKind kind, Gpt2Config config)
    {
        int c = config.Channels;
        return kind switch
        {
            MapKind.Q => (c, c, 0),
            MapKind.K => (c, c, c),
            MapKind.V => (c, c, 2 * c),
            MapKind.AttnProj => (c, c, 0),
            MapKind.Fc => (c, config.Inner, 0),
            MapKind.MlpProj => (config.Inner, c, 0),
            _ => (c, 3 * c, 0),
        };
    }
}
