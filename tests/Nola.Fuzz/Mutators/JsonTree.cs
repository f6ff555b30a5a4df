using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Nola.Fuzz;

/// <summary>
/// JSON whose leaves and keys are raw text, so that a changed tree can be written though it is no JSON any more: with halves of
/// characters, keys twice, numbers that are none.
/// </summary>
internal sealed class JsonTree
{
    private JsonTree() { }

    /// <summary>The text of a leaf; null for an object or an array.</summary>
    public string? Raw { get; set; }

    /// <summary>Of an object: keys with their quotes, and values.</summary>
    public List<(string Key, JsonTree Value)>? Members { get; private set; }

    /// <summary>Of an array.</summary>
    public List<JsonTree>? Items { get; private set; }

    /// <summary>A leaf.</summary>
    public static JsonTree Leaf(string raw) => new() { Raw = raw };

    /// <summary>An object.</summary>
    public static JsonTree Object(IEnumerable<(string Key, JsonTree Value)> members) => new() { Members = [.. members] };

    /// <summary>An array.</summary>
    public static JsonTree Array(IEnumerable<JsonTree> items) => new() { Items = [.. items] };

    /// <summary>Parses valid JSON; comments are left out.</summary>
    /// <exception cref="JsonException">It is not valid.</exception>
    public static JsonTree Parse(ReadOnlyMemory<byte> json)
    {
        using JsonDocument document = JsonDocument.Parse(json, new()
        {
            CommentHandling = JsonCommentHandling.Skip,
            AllowTrailingCommas = true,
        });
        return Of(document.RootElement);
    }

    /// <summary>This and everything below.</summary>
    public IEnumerable<JsonTree> All()
    {
        yield return this;
        foreach (JsonTree child in Items ?? Members?.Select(m => m.Value) ?? [])
            foreach (JsonTree below in child.All()) yield return below;
    }

    /// <summary>Characters of the text, about; at least 1, and at most as many as an integer holds.</summary>
    public int Length() => (int)Math.Min(
        int.MaxValue,
        Raw?.Length + 1L ?? Items?.Sum(item => 1L + item.Length()) + 2 ?? Members!.Sum(m => m.Key.Length + 2L + m.Value.Length()) + 2);

    /// <summary>The same content in another object.</summary>
    public JsonTree Copy() => new()
    {
        Raw = Raw,
        Items = Items is null ? null : [.. Items.Select(item => item.Copy())],
        Members = Members is null ? null : [.. Members.Select(m => (m.Key, m.Value.Copy()))],
    };

    /// <summary>Becomes another value.</summary>
    public void Become(JsonTree other) => (Raw, Items, Members) = (other.Raw, other.Items, other.Members);

    /// <summary>As text.</summary>
    public override string ToString()
    {
        StringBuilder text = new();
        Write(text);
        return text.ToString();
    }

    // As it was written: half of a character has no other form.
    private static string Key(JsonProperty property) => $"\"{Encoding.UTF8.GetString(JsonMarshal.GetRawUtf8PropertyName(property))}\"";

    private static JsonTree Of(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => Object(element.EnumerateObject().Select(p => (Key(p), Of(p.Value)))),
        JsonValueKind.Array => Array(element.EnumerateArray().Select(Of)),
        _ => Leaf(element.GetRawText()),
    };

    private void Write(StringBuilder text)
    {
        if (Raw is not null)
        {
            text.Append(Raw);
            return;
        }
        text.Append(Items is null ? '{' : '[');
        for (int i = 0; i < (Items?.Count ?? Members!.Count); i++)
        {
            if (i > 0) text.Append(',');
            if (Items is null) text.Append(Members![i].Key).Append(':');
            (Items is null ? Members![i].Value : Items[i]).Write(text);
        }
        text.Append(Items is null ? '}' : ']');
    }
}
