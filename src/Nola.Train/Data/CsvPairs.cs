using System.Globalization;
using System.Text;
using CsvHelper;
using CsvHelper.Configuration;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>CSV with a header: E2E's <c>mr,ref</c>, or <c>context</c> / <c>prompt</c> and <c>completion</c>.</summary>
internal static class CsvPairs
{
    /// <param name="reader">The file.</param>
    /// <param name="place">Its name, for messages.</param>
    /// <param name="contextsOnly">There need be no completion: E2E's test set has a column <c>MR</c> alone.</param>
    public static IEnumerable<TextPair> Read(TextReader reader, string place, bool contextsOnly = false)
    {
        CsvConfiguration configuration = new(CultureInfo.InvariantCulture)
        {
            BadDataFound = bad => throw new NolaException($"{place}, line {bad.Context.Parser!.RawRow}: the quotes of a field do not fit; write a quote inside a field twice."),
            DetectColumnCountChanges = false,
        };
        using CsvReader csv = new(reader, configuration);
        if (!csv.Read() || !csv.ReadHeader()) yield break;
        string[] header = csv.HeaderRecord!;
        string? context = header.FirstOrDefault(h => h is "mr" or "MR" or "context" or "prompt");
        string? completion = header.FirstOrDefault(h => h is "ref" or "completion");
        bool e2e = context is "mr" or "MR";
        if (context is null || (completion is null && !contextsOnly))
            throw new NolaException($"{place}: the header is '{string.Join(",", header)}'; expected the columns mr,ref or context,completion or prompt,completion.");
        while (csv.Read())
        {
            int line = csv.Parser.RawRow;
            if (csv.Parser.Count != header.Length)
                throw new NolaException($"{place}, line {line}: {csv.Parser.Count} fields where the header has {header.Length}; quote fields that hold a comma.");
            string left = csv.GetField(context)!, right = completion is null ? "" : csv.GetField(completion)!;
            yield return new TextPair(e2e ? MeaningRepresentation(left, $"{place}, line {line}") : left, right, $"{place}, line {line}");
        }
    }

    /// <summary>
    /// <c>name[Blue Spice], eatType[pub]</c> → <c>name : Blue Spice | Type : pub</c>: the form that the LoRA and NOLA code train on.
    /// </summary>
    internal static string MeaningRepresentation(string text, string place)
    {
        StringBuilder result = new();
        int at = 0;
        while (at < text.Length)
        {
            int open = text.IndexOf('[', at), close = open < 0 ? -1 : text.IndexOf(']', open);
            if (close < 0) throw new NolaException($"{place}: '{text}' is not a meaning representation; expected name[value], name[value], ….");
            string key = text[at..open].Trim(' ', ',') switch
            {
                "eatType" => "Type",
                "priceRange" => "price",
                "familyFriendly" => "family friendly",
                string other => other,
            };
            if (result.Length > 0) result.Append(" | ");
            result.Append(key).Append(" : ").Append(text, open + 1, close - open - 1);
            at = close + 1;
            while (at < text.Length && (text[at] is ',' or ' ')) at++;
        }
        return result.ToString();
    }
}
