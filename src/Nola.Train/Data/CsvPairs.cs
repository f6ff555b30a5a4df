using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// A table with a header: E2E's <c>mr,ref</c>, <c>context</c> or <c>prompt</c> and <c>completion</c>, Alpaca's
/// <c>instruction,input,output</c>, or <c>text</c> alone. Names are read in any case.
/// </summary>
internal static class CsvPairs
{
    /// <summary>Reads the rows; what stands between fields is told from the header: a comma, a semicolon or a tab.</summary>
    /// <param name="reader">The file.</param>
    /// <param name="place">Its name, for messages.</param>
    /// <param name="contextsOnly">There need be no completion: E2E's test set has a column <c>MR</c> alone.</param>
    public static IEnumerable<TextPair> Read(TextReader reader, string place, bool contextsOnly = false)
    {
        DelimitedText rows = new(reader, place);
        rows.Delimiter = Delimiter(rows.FirstLine(), contextsOnly) ?? ',';
        List<string> fields = [];
        if (!rows.Read(fields)) yield break;
        int width = fields.Count;
        CsvColumns columns = new(fields, place);
        if (!columns.AreEnough(contextsOnly))
            throw new NolaException($"{place}: the header is {Quoted.Of(string.Join(rows.Delimiter, fields))}; "
                + $"expected the columns {PairNames.Expected}.");
        while (rows.Read(fields))
        {
            string at = $"{place}, line {rows.Line}";
            if (fields.Count != width)
                throw new NolaException($"{at}: {fields.Count} fields where the header has {width}; "
                    + $"quote fields that hold {Name(rows.Delimiter)}.");
            yield return columns.Pair(fields, at);
        }
    }

    /// <summary>What stands between the fields of a header; null when the line is no header of pairs.</summary>
    public static char? Delimiter(string header, bool contextsOnly)
    {
        foreach (char delimiter in (char[])[',', ';', '\t'])
        {
            List<string> fields = [];
            DelimitedText line = new(new StringReader(header), "") { Delimiter = delimiter };
            try
            {
                if (line.Read(fields) && CsvColumns.AreNamedIn(fields, contextsOnly)) return delimiter;
            }
            catch (NolaException)
            {
                // Its quotes do not fit with this delimiter.
            }
        }
        return null;
    }

    private static string Name(char delimiter) => delimiter switch { ';' => "a semicolon", '\t' => "a tab", _ => "a comma" };
}
