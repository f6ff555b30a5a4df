namespace Nola.Models;

/// <summary>
/// The adapted maps of one kind: one in each adapted layer, all of one size, so that what is trained on them can be stacked. The
/// token embedding and the head are each a kind of one map.
/// </summary>
/// <param name="Maps">In the order of their layers; at least one.</param>
public sealed record MapGroup(IReadOnlyList<AdaptableMap> Maps)
{
    /// <summary>The name inside a block, for example <c>attn.q</c>.</summary>
    public string Kind => Maps[0].Kind;

    /// <summary>The kind's number in the random bases.</summary>
    public int Stream => Maps[0].Stream;

    /// <summary>Whether it is the token embedding, which looks rows up by token.</summary>
    public bool IsLookup => Maps[0].IsLookup;

    /// <summary>Number of inputs.</summary>
    public int In => Maps[0].In;

    /// <summary>Number of outputs.</summary>
    public int Out => Maps[0].Out;

    /// <summary>Number of adapted layers, L.</summary>
    public int Count => Maps.Count;

    /// <summary>The adapted layers, ascending. (L)</summary>
    public int[] Layers { get; } = [.. Maps.Select(map => map.Layer)];
}
