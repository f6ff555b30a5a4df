using System.IO.Enumeration;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Which linear maps an adapter is on, by name pattern. A pattern matches the full name of a map or its end after a dot, and
/// <c>*</c> stands for any characters. In GPT-2 the full names are <c>h.{layer}.attn.q</c>, <c>.attn.k</c>, <c>.attn.v</c>,
/// <c>.attn.c_attn</c> (the three as one), <c>.attn.c_proj</c>, <c>.mlp.c_fc</c> and <c>.mlp.c_proj</c>: <c>q</c> is every query
/// projection, <c>mlp.*</c> both MLP matrices, <c>h.0.*</c> all of the first block, <c>h.1*.attn.v</c> some of the layers. In
/// LLaMA and its kin they are <c>model.layers.{layer}.self_attn.q_proj</c>, <c>.k_proj</c>, <c>.v_proj</c>, <c>.o_proj</c>,
/// <c>.mlp.gate_proj</c>, <c>.up_proj</c> and <c>.down_proj</c>; there <c>q</c>, <c>k</c>, <c>v</c> and <c>o</c> alone mean
/// those of attention. In vision transformers they are <c>encoder.layer.{layer}.attention.attention.query</c>, <c>.key</c>,
/// <c>.value</c>, <c>.attention.output.dense</c>, <c>.intermediate.dense</c> and <c>.output.dense</c>, and answer to <c>attn.q</c>,
/// <c>attn.k</c>, <c>attn.v</c>, <c>attn.proj</c>, <c>mlp.fc1</c> and <c>mlp.fc2</c> as well. The token embedding and the head
/// (<c>wte</c> and <c>lm_head</c>; <c>embed_tokens</c> and <c>lm_head</c>) are
/// in no block, and no <c>*</c> stands for them: they answer to their own names only.
/// </summary>
internal static class AdapterTargets
{
    // The projections of attention, by names that hold for every family.
    private static readonly string[] attention = ["q", "k", "v", "o"];

    /// <summary>Query and value projections, as published for LoRA and NOLA.</summary>
    public static IReadOnlyList<string> Default { get; } = ["q", "v"];

    /// <summary>The maps that any pattern matches, grouped by kind, in the order of the kinds' numbers.</summary>
    /// <exception cref="NolaException">A pattern matches nothing, or a map is named together with one that holds it.</exception>
    public static IReadOnlyList<MapGroup> Resolve(IReadOnlyList<string> patterns, IReadOnlyList<AdaptableMap> maps)
    {
        if (patterns.Count == 0)
            throw new NolaException($"targets is empty; name at least one map, for example {string.Join(',', Kinds(maps).Take(2))}.");
        HashSet<AdaptableMap> wholes = Wholes(maps), found = [];
        foreach (string pattern in patterns)
        {
            AdaptableMap[] matches = [.. maps.Where(map => Chooses(pattern, map))];
            if (matches.Length == 0)
                throw new NolaException(
                    $"targets: {Quoted.Of(pattern)} matches no linear map; maps are {string.Join(", ", Kinds(maps.Where(InBlock)))} "
                    + $"in {Blocks([.. maps.Where(InBlock)])}{Outside(maps)}.");
            found.UnionWith(matches);
        }
        if (found.Where(wholes.Contains).FirstOrDefault(whole => found.Any(map => map != whole && map.Overlaps(whole))) is { } both)
        {
            string[] parts = [.. maps.Where(map => map != both && map.Overlaps(both)).Select(map => ShortName(map, maps))];
            throw new NolaException(
                $"targets: {ShortName(both, maps)} is {string.Join(", ", parts[..^1])} and {parts[^1]} together; "
                + "name it or them, not both.");
        }
        return
        [
            .. found.GroupBy(map => map.Stream).OrderBy(kind => kind.Key).Select(kind => new MapGroup([.. kind.OrderBy(map => map.Layer)])),
        ];

        bool Chooses(string pattern, AdaptableMap map) => !map.IsInBlock
            ? pattern == map.Name || map.Name.EndsWith("." + pattern, StringComparison.Ordinal)
            : (Matches(pattern, map.Name) && (!wholes.Contains(map) || Names(pattern, map))) || IsProjection(pattern, map)
                || map.Aliases.Any(alias => Matches(pattern, alias));
    }

    private static bool InBlock(AdaptableMap map) => map.IsInBlock;

    private static string Outside(IReadOnlyList<AdaptableMap> maps)
    {
        string[] kinds = [.. maps.Where(map => !map.IsInBlock).Select(map => map.Kind)];
        return kinds.Length == 0 ? "" : $", and by these names alone {string.Join(", ", kinds)}";
    }

    // Hugging Face's newer models call them q_proj and so on.
    private static bool IsProjection(string pattern, AdaptableMap map) => attention.Contains(pattern) && LastName(map) == pattern + "_proj";

    // Maps that hold others: one that a wildcard such as h.0.* would match twice. They only answer to their own name.
    private static HashSet<AdaptableMap> Wholes(IReadOnlyList<AdaptableMap> maps) =>
        [.. maps.Where(whole => maps.Any(map => map != whole && map.Out < whole.Out && map.Overlaps(whole)))];

    private static bool Names(string pattern, AdaptableMap map) => pattern.EndsWith(LastName(map), StringComparison.Ordinal);

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

    private static IEnumerable<string> Kinds(IEnumerable<AdaptableMap> maps)
    {
        AdaptableMap[] all = [.. maps];
        return all.DistinctBy(map => map.Kind).Select(map => ShortName(map, all));
    }

    // The last word of a kind's name where no other kind has it, else all of it.
    private static string ShortName(AdaptableMap map, IReadOnlyList<AdaptableMap> maps) =>
        maps.Any(other => other.Kind != map.Kind && LastName(other) == LastName(map)) ? map.Kind : LastName(map);

    private static string LastName(AdaptableMap map) => map.Kind[(map.Kind.LastIndexOf('.') + 1)..];

    private static string Blocks(IReadOnlyList<AdaptableMap> maps) => $"{Block(maps[0])} … {Block(maps[^1])}";

    private static string Block(AdaptableMap map) => map.Name[..^(map.Kind.Length + 1)];
}
