using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>The values of a JSON object, each checked when it is read.</summary>
internal sealed class ExperimentReader(JsonElement from, string place)
{
    public string Text(string key, string standard) => !from.TryGetProperty(key, out JsonElement value) ? standard
        : value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Bad(key, "text");

    public int Whole(string key) =>
        from.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number)
            ? number
            : throw Bad(key, "a whole number");

    public IReadOnlyList<string> Texts(string key, string[] standard)
    {
        if (!from.TryGetProperty(key, out JsonElement value)) return standard;
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() == 0
            || value.EnumerateArray().Any(v => v.ValueKind != JsonValueKind.String))
            throw Bad(key, "a list of names");
        return [.. value.EnumerateArray().Select(v => v.GetString()!).Distinct()];
    }

    public IReadOnlyList<ulong> Seeds(string key)
    {
        if (!from.TryGetProperty(key, out JsonElement value)) throw Bad(key, "a list of whole numbers from 0");
        List<ulong> seeds = [];
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() == 0) throw Bad(key, "a list of whole numbers from 0");
        foreach (JsonElement item in value.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetUInt64(out ulong seed))
                throw Bad(key, "a list of whole numbers from 0");
            if (seeds.Contains(seed))
                throw new NolaException($"{place}: the seed {seed} appears twice in \"{key}\"; a run is not done twice.");
            seeds.Add(seed);
        }
        return seeds;
    }

    private NolaException Bad(string key, string expected) =>
        new($"{place}: \"{key}\" is {(from.TryGetProperty(key, out JsonElement value) ? value.GetRawText() : "missing")}; "
            + $"expected {expected}.");
}
