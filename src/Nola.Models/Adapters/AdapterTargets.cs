using System.IO.Enumeration;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Which linear maps an adapter is on, by name pattern. The full names are <c>h.{layer}.attn.q</c>, <c>.attn.k</c>,
/// <c>.attn.v</c>, <c>.attn.c_attn</c> (the three as one), <c>.attn.c_proj</c>, <c>.mlp.c_fc</c> and <c>.mlp.c_proj</c>.
/// A pattern matches a full name or its end after a dot, and <c>*</c> stands for any characters: <c>q</c> is every query
/// projection, <c>mlp.*</c> both MLP matrices, <c>h.0.*</c> all of the first block, <c>h.1*.attn.v</c> some of the layers.
/// </summary>
public static class AdapterTargets
{
    /// <summary>Query and value projections, as published for LoRA and NOLA.</summary>
    public static IReadOnlyList<string> Default { get; } = ["q", "v"];

    /// <summary>The adapted layers of each kind of map that any pattern matches.</summary>
    /// <exception cref="NolaException">A pattern matches nothing, or q, k or v is named together with the whole c_attn.</exception>
    public static SortedDictionary<MapKind, int[]> Resolve(IReadOnlyList<string> patterns, Gpt2Config config)
    {
        if (patterns.Count == 0) throw new NolaException("targets is empty; name at least one map, for example q,v.");
        List<(MapKind Kind, int Layer)> found = [];
        foreach (string pattern in patterns)
        {
            List<(MapKind Kind, int Layer)> matches =
                [.. Candidates(config, pattern).Where(c => Matches(pattern, $"h.{c.Layer}.{c.Kind.Name()}"))];
            if (matches.Count == 0)
                throw new NolaException(
                    $"targets: {Quoted.Of(pattern)} matches no linear map; maps are q, k, v, c_attn, attn.c_proj, c_fc, "
                    + $"mlp.c_proj in h.0 … h.{config.Layers - 1}.");
            found.AddRange(matches);
        }
        SortedDictionary<MapKind, int[]> layers = [];
        foreach (IGrouping<MapKind, int> kind in found.GroupBy(f => f.Kind, f => f.Layer))
            layers[kind.Key] = [.. kind.Distinct().Order()];
        if (layers.ContainsKey(MapKind.CAttn) && (layers.ContainsKey(MapKind.Q) || layers.ContainsKey(MapKind.K) || layers.ContainsKey(MapKind.V)))
            throw new NolaException("targets: c_attn is q, k and v together; name it or them, not both.");
        return layers;
    }

    // The whole name, or its end after a dot. The time that a match takes is bounded by the lengths, however many stars there are.
    private static bool Matches(string pattern, string name)
    {
        // No name has what else is special to the matcher.
        if (pattern.AsSpan().ContainsAny('?', '\\')) return false;
        for (int start = 0; start >= 0;)
        {
            if (FileSystemName.MatchesSimpleExpression(pattern, name.AsSpan(start), ignoreCase: false)) return true;
            int dot = name.IndexOf('.', start);
            start = dot < 0 ? -1 : dot + 1;
        }
        return false;
    }

    // A wildcard such as h.0.* means each map once: the fused c_attn only answers to its own name.
    private static IEnumerable<(MapKind Kind, int Layer)> Candidates(Gpt2Config config, string pattern) =>
        from layer in Enumerable.Range(0, config.Layers)
        from kind in MapKinds.All
        where kind != MapKind.CAttn || pattern.EndsWith("c_attn", StringComparison.Ordinal)
        select (kind, layer);
}
