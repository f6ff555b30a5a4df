using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// What the files beside a tokenizer say of it: <c>tokenizer_config.json</c>, <c>special_tokens_map.json</c> and
/// <c>added_tokens.json</c>.
/// </summary>
internal sealed record TokenizerConfig
{
    /// <summary>The file with most of it.</summary>
    public const string FileName = "tokenizer_config.json";

    private const string MapName = "special_tokens_map.json", AddedName = "added_tokens.json";

    /// <summary>The name of the token that begins texts; null where it is not said.</summary>
    public string? Begin { get; private init; }

    /// <summary>The name of the token that ends texts; null where it is not said.</summary>
    public string? End { get; private init; }

    /// <summary>Whether texts begin with it (<c>add_bos_token</c>); null where it is not said.</summary>
    public bool? AddsBegin { get; private init; }

    /// <summary>Whether a part of a text after an added token is marked as a text of its own is (<c>legacy</c>).</summary>
    public bool IsLegacy { get; private init; }

    /// <summary>The class that reads the files in transformers, without <c>Fast</c>; null where it is not said.</summary>
    public string? Class { get; private init; }

    /// <summary>Tokens that the tokenizer's own file does not have.</summary>
    public IReadOnlyList<AddedToken> Added { get; private init; } = [];

    /// <summary>Reads the files of a directory, those that there are.</summary>
    /// <exception cref="NolaException">A value in them is not what it must be.</exception>
    public static TokenizerConfig Read(string directory)
    {
        using JsonDocument? config = Open(directory, FileName), map = Open(directory, MapName), added = Open(directory, AddedName);
        ConfigFields? fields = Fields(config, directory, FileName), names = Fields(map, directory, MapName);
        string? reader = fields?.Text("tokenizer_class");
        return new()
        {
            Begin = Name(fields, "bos_token") ?? Name(names, "bos_token"),
            End = Name(fields, "eos_token") ?? Name(names, "eos_token"),
            AddsBegin = fields?.Flag("add_bos_token"),
            IsLegacy = fields?.Flag("legacy") ?? true,
            Class = reader?.EndsWith("Fast", StringComparison.Ordinal) == true ? reader[..^4] : reader,
            Added = AddedOf(fields, Fields(added, directory, AddedName)),
        };
    }

    private static JsonDocument? Open(string directory, string name)
    {
        string path = Path.Combine(directory, name);
        return File.Exists(path) ? JsonInput.Read(path) : null;
    }

    private static ConfigFields? Fields(JsonDocument? document, string directory, string name)
    {
        if (document is null) return null;
        string path = Path.Combine(directory, name);
        return document.RootElement.ValueKind == JsonValueKind.Object
            ? new(document.RootElement, path)
            : throw new NolaException($"{path}: expected a JSON object.");
    }

    // A token's text, or an object with it.
    private static string? Name(ConfigFields? fields, string key) => fields?.Given(key) switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } text => text.GetString(),
        { ValueKind: JsonValueKind.Object } => fields.Within(key)!.Text("content"),
        _ => throw fields.Bad(key, "expected a token"),
    };

    private static List<AddedToken> AddedOf(ConfigFields? fields, ConfigFields? added)
    {
        List<AddedToken> tokens = [];
        foreach (string id in fields?.Within("added_tokens_decoder")?.Names ?? [])
        {
            ConfigFields all = fields!.Within("added_tokens_decoder")!;
            if (!StrictNumber.TryWhole(id, out int number)) throw all.Bad(id, "expected ids as keys");
            tokens.Add(TokenizerJson.AddedOf(all.Within(id)!, number));
        }
        foreach (string name in added?.Names ?? [])
        {
            if (tokens.Exists(token => token.Content == name)) continue;
            int id = added!.Given(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out int given) && given >= 0
                ? given
                : throw added.Bad(name, "expected an id");
            tokens.Add(new(name, id) { IsControl = true });
        }
        return tokens;
    }
}
