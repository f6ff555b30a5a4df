using System.Text.Json;
using System.Text.Unicode;

namespace Nola.Tensors;

/// <summary>
/// Reading JSON that somebody else wrote. What comes back is valid UTF-8, names no key twice in one object, and has no half of a
/// character (a lone surrogate such as <c>"\ud83d"</c>), so that no later look at a string of it can fail.
/// </summary>
internal static class JsonInput
{
    /// <summary>The largest configuration, in bytes: far more than one has, and little enough to be parsed in no time.</summary>
    public const long LargestConfig = 1L << 24;

    /// <summary>The largest vocabulary or index, in bytes.</summary>
    public const long LargestTable = 1L << 25;

    private const string Duplicate = "Duplicate property ";

    private static readonly JsonDocumentOptions strict = new() { AllowDuplicateProperties = false };
    private static readonly JsonDocumentOptions relaxed = strict with
    {
        CommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
    };

    /// <summary>Reads a file of one JSON value.</summary>
    /// <param name="path">The file; a byte order mark is skipped.</param>
    /// <param name="handWritten">Allow comments and trailing commas, for files that people write.</param>
    /// <param name="largest">Most bytes that the file may have.</param>
    /// <exception cref="NolaException">It cannot be read, is too large, or is not valid JSON; the message says where.</exception>
    public static JsonDocument Read(string path, bool handWritten = false, long largest = LargestConfig) =>
        Parse(InputFile.ReadAll(path, largest), path, handWritten);

    /// <summary>Parses one JSON value; the memory must not change while the document is used.</summary>
    /// <param name="json">UTF-8 text; a byte order mark is skipped.</param>
    /// <param name="place">Where it came from, for messages: a file, or a file and a line.</param>
    /// <param name="handWritten">Allow comments and trailing commas, for files that people write.</param>
    /// <exception cref="NolaException">It is not valid JSON.</exception>
    public static JsonDocument Parse(ReadOnlyMemory<byte> json, string place, bool handWritten = false)
    {
        if (json.Span.StartsWith("\uFEFF"u8)) json = json[3..];
        if (!Utf8.IsValid(json.Span)) throw new NolaException($"{place}: not valid UTF-8; save the file as UTF-8.");
        JsonDocument? document = null;
        try
        {
            document = JsonDocument.Parse(json, handWritten ? relaxed : strict);
            // Halves of characters can only be written as escapes.
            if (json.Span.IndexOf("\\u"u8) >= 0) ReadStrings(document.RootElement);
            return document;
        }
        catch (JsonException error)
        {
            document?.Dispose();
            throw new NolaException($"{place}: not valid JSON ({Reason(error)}).", error);
        }
        catch (InvalidOperationException error)
        {
            document?.Dispose();
            throw new NolaException(
                $"{place}: not valid JSON (a string has half of a character, a lone surrogate such as \\ud83d).", error);
        }
    }

    /// <summary>Parses one JSON value of a text.</summary>
    /// <inheritdoc cref="Parse(ReadOnlyMemory{byte}, string, bool)"/>
    public static JsonDocument Parse(string json, string place, bool handWritten = false)
    {
        int half = FirstHalf(json);
        if (half >= 0)
            throw new NolaException($"{place}: not valid text (half of a character, U+{(int)json[half]:X4}, at position {half + 1}).");
        return Parse(System.Text.Encoding.UTF8.GetBytes(json), place, handWritten);
    }

    /// <summary>The reason of the parser, with its place counted from 1, as editors do.</summary>
    public static string Reason(JsonException error)
    {
        string message = error.Message;
        int path = message.IndexOf(" Path: ", StringComparison.Ordinal), line = message.IndexOf(" LineNumber: ", StringComparison.Ordinal);
        int end = path >= 0 && line >= 0 ? Math.Min(path, line) : Math.Max(path, line);
        string reason = (end >= 0 ? message[..end] : message).TrimEnd('.', ' ');
        if (reason.StartsWith(Duplicate, StringComparison.Ordinal))
            reason = $"the key {reason[Duplicate.Length..].Replace(" encountered during deserialization", "").TrimEnd('.')} is there twice";
        if (error.LineNumber is not { } l || error.BytePositionInLine is not { } b) return reason;
        // Of a text on one line the place says which it is.
        return l == 0 ? $"{reason}, byte {b + 1}" : $"{reason}, line {l + 1}, byte {b + 1}";
    }

    private static void ReadStrings(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.String:
                _ = element.GetString();
                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in element.EnumerateArray()) ReadStrings(item);
                break;
            case JsonValueKind.Object:
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    _ = property.Name;
                    ReadStrings(property.Value);
                }
                break;
        }
    }

    private static int FirstHalf(string text)
    {
        int first = text.AsSpan().IndexOfAnyInRange('\uD800', '\uDFFF');
        for (int i = first; i >= 0 && i < text.Length; i++)
        {
            if (!char.IsSurrogate(text[i])) continue;
            if (!char.IsHighSurrogate(text[i]) || i + 1 == text.Length || !char.IsLowSurrogate(text[i + 1])) return i;
            i++;
        }
        return -1;
    }
}
