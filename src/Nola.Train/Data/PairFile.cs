using Nola.Tensors;

namespace Nola.Train;

/// <summary>Reading one file of pairs: its form is told by its extension, or where that is not known, by its first line.</summary>
internal static class PairFile
{
    /// <summary>Reads a file, or standard input for <c>-</c>.</summary>
    /// <param name="path">The file.</param>
    /// <param name="contextsOnly">There need be no completions.</param>
    /// <exception cref="NolaException">It cannot be read; the message names file and line.</exception>
    public static List<TextPair> Read(string path, bool contextsOnly = false)
    {
        using TextInput text = DataInput.Open(path);
        return Read(text, path, contextsOnly);
    }

    /// <summary>Reads an open text by the extension of its name.</summary>
    /// <exception cref="NolaException">It cannot be read; the message names file and line.</exception>
    public static List<TextPair> Read(TextReader text, string name, bool contextsOnly = false)
    {
        string place = DataInput.Place(name);
        if (DataForms.OfName(name) is { } known) return Parse(text, known, place, contextsOnly);
        if (FirstLine(text, name) is not (int blank, string line)) return [];
        // What is typed or piped as contexts has one on each line.
        DataForm? otherwise = contextsOnly && name == DataInput.StandardInput ? DataForm.Text : null;
        DataForm? form = DataForms.OfContent(line, contextsOnly) ?? otherwise;
        if (form is null) throw Unknown(name, "its first line matches no form either");
        using ContinuedText whole = new(new string('\n', blank) + line + "\n", text);
        return Parse(whole, form.Value, place, contextsOnly);
    }

    private static List<TextPair> Parse(TextReader text, DataForm form, string place, bool contextsOnly) => form switch
    {
        DataForm.Table => [.. CsvPairs.Read(text, place, contextsOnly)],
        DataForm.JsonLines => [.. JsonPairs.ReadLines(text, place, contextsOnly)],
        DataForm.Json => JsonPairs.ReadDocument(text, place, contextsOnly),
        DataForm.Xml => [.. XmlPairs.Read(text, place)],
        _ => [.. LoraText(text, place, contextsOnly)],
    };

    // The text form of the LoRA code: one context||completion on a line. The published encoder strips both sides' ends.
    private static IEnumerable<TextPair> LoraText(TextReader reader, string place, bool contextsOnly)
    {
        for (int line = 1; reader.ReadLine() is { } text; line++)
        {
            if (string.IsNullOrWhiteSpace(text)) continue;
            string at = $"{place}, line {line}";
            string[] parts = text.Trim().Split("||");
            if (parts.Length > 2)
                throw new NolaException($"{at}: '||' is there {parts.Length - 1} times; "
                    + "expected context||completion. A text that has '||' in it can be written as .jsonl or .csv.");
            if (parts.Length < 2 && !contextsOnly)
                throw new NolaException($"{at}: there is no '||' between context and completion; "
                    + "plain text to continue is given as text, not as pairs.");
            yield return new TextPair(parts[0], parts.Length < 2 ? "" : parts[1].Trim('\n'), at);
        }
    }

    // The first line that is not blank, and how many are before it; null for a text of blank lines.
    private static (int Blank, string Line)? FirstLine(TextReader text, string name)
    {
        try
        {
            for (int blank = 0; text.ReadLine() is { } line; blank++)
                if (!string.IsNullOrWhiteSpace(line)) return (blank, line);
        }
        catch (NolaException error) when (name != DataInput.StandardInput)
        {
            throw Unknown(name, $"it is no text ({error.Message.TrimEnd('.')})");
        }
        return null;
    }

    private static NolaException Unknown(string name, string why) => name == DataInput.StandardInput
        ? new($"{DataInput.Place(name)}: its first line matches no form of pairs; expected a CSV header, JSON, XML or context||completion.")
        : new($"{name}: the extension '{DataForms.Extension(name)}' is not known, and {why}; known are {DataForms.Known}.");
}
