using System.Text;
using static Nola.Train.Metrics.PtbPatterns;

namespace Nola.Train.Metrics;

/// <summary>
/// Penn Treebank tokenization as Stanford's <c>PTBTokenizer -preserveLines -lowerCase</c> does it (version 3.7.0, default
/// options), which precedes ROUGE-L, CIDEr and METEOR in coco-caption: the longest of some sixty patterns makes the next
/// token, the first of them if several match as much.
/// </summary>
/// <remarks>
/// The text is one stream: whether the full stop of <c>etc.</c> also ends its sentence depends on the next character, even
/// where that begins the next line, so lines cannot be tokenized one by one.
/// </remarks>
internal static class PtbTokenizer
{
    private static readonly PtbRule[] rules =
    [
        new(@"c\+\+|(c|f)#"),
        new("cannot|dunno", Text: t => t[..^3], GivenBack: 3),
        new("'twas", Text: t => t[..^3], GivenBack: 3),
        new("'tis|gonna|gotta|lemme|gimme|wanna", Text: t => t[..^2], GivenBack: 2),
        new("nno", Before: "[^A-Za-z0-9]", Text: t => t[..^2], GivenBack: 2),
        new(Markup, Text: t => t.Replace(' ', '\u00A0').Replace('\n', '\u00A0').Replace('\r', '\u00A0')),
        new(Dash, Text: _ => "--"),
        new("&amp;", Text: _ => "&"),
        new(Entity),
        new(Word, Before: Clitic, Text: WithoutSoftHyphens),
        new(NegatedVerb, Before: Negation, Text: WithoutSoftHyphens),
        new(Word, Text: WithoutSoftHyphens),
        new(WithApostrophe, Text: Closed),
        new(YouClitic, Before: @"\p{L}"),
        new(Address + "|" + Site + "|" + Mail + "|" + Handle),
        new(Clitic + "|" + Negation, Before: "[^A-Za-z]", Text: Closed),
        new(Date),
        new(Number, Text: WithoutSoftHyphens),
        new(Raised),
        new(Fraction, Text: t => t.Replace(' ', '\u00A0')),
        new(FractionSign, Text: Fractions),
        new(Bank, Text: Ampersands),
        new("(E|Yahoo|Jeopardy)!"),
        new("OK!", Before: Blank + "magazine"),
        new(Slashed + "|" + Dollar),
        new(
            Currency,
            Text: t => t switch { "\u00A2" => "cents", "\u00A3" => "#", "\u0080" or "\u00A4" or "\u20A0" or "\u20AC" => "$", _ => t }),
        new(
            Initials + @"\.", Before: Blank + "+" + SentenceStart + "(" + Blank + "|[?!])",
            Text: t => t.Length == 2 ? t[..1] : t, GivenBack: 1),
        new(Numbering, Before: Blank + "?" + Digit),
        new(@"(So|No)\.", Before: Blank + "+(Africa|Korea|Cal)"),
        new(@"(pt[eyEY]|co)\.", Before: Space + "(ltd|lim)"),
        // The full stop of an abbreviation at a sentence's end is also a token of its own.
        new(Closing, Before: Blank + "(" + Blank + @"|\p{Lu}|" + Markup + ")", GivenBack: 1),
        new(Closing, Before: "[^][^]"),
        new(Closing, GivenBack: 1),
        new(Opening + @"\."),
        new(Opening, Before: Space),
        new(Initials, Before: Blank),
        new(Decade, Before: Blank),
        new(Instant),
        new(FileName, Before: Blank + "|[.?!,\"']"),
        new(Word + @"\.", Before: SentenceSign, Text: WithoutSoftHyphens),
        new(Phone, Text: t => Brackets(t.Replace(' ', '\u00A0'))),
        new(DoubleQuote, Before: "[A-Za-z0-9$]", Text: _ => "``"),
        new(DoubleQuote, Text: _ => "''"),
        new(@"\u007F", Text: _ => null),
        new("<|&lt;", Text: _ => "<"),
        new(">|&gt;", Text: _ => ">"),
        new(Smiley, Before: "[^A-Za-z0-9]", Text: Brackets),
        new(EasternSmiley, Text: Brackets),
        new(@"[{}\[\]()]", Text: t => t switch { "{" => "-LCB-", "}" => "-RCB-", "[" => "-LSB-", "]" => "-RSB-", _ => Brackets(t) }),
        new("-+", Text: t => t.Length is 3 or 4 ? "--" : t),
        new(Ellipsis, Before: @"\." + Blank + @"+\p{L}", Text: _ => "..."),
        new(SpacedEllipsis, Before: Space + @"\." + Blank + @"+\p{L}", Text: _ => "..."),
        new(Ellipsis + "|" + SpacedEllipsis, Text: _ => "..."),
        new(@"@+|#+|_+|\*+|(\\\*){1,3}|" + SentenceSign + "|[?!]+|" + FullStop + @"|=+|\/"),
        new(Hyphenated, Text: WithoutSoftHyphens),
        new(Hyphenated + @"\.", Before: SentenceSign, Text: WithoutSoftHyphens),
        new(Thing + @"\.", Before: SentenceSign, Text: Closed),
        new(Thing, Text: Closed),
        new(Joined + @"\.", Before: SentenceSign, Text: Ampersands),
        new(Joined, Text: Ampersands),
        new("'", Before: @"[A-Za-z][^ \t\n\r\u00A0]", Text: _ => "`"),
        new(Clitic + "|" + Negation + "|" + Quotes, Text: Closed),
        new("<<|>>|" + Symbol),
        new(@"\u0095", Text: _ => "\u2022"),
        new(@"\u0099", Text: _ => "\u2122"),
        new(@"\u0000|" + Space + @"+|[\u200B\u200E\u200F\uFEFF]|&nbsp;", Text: _ => null),
        new(LineEnd, Text: _ => "\n"),
        new(".", Text: _ => null),
    ];

    // Its states are made on demand and kept for later texts.
    private static readonly LazyDfa patterns = new([.. rules.Select(r => r.Whole)]);
    private static readonly Lock making = new();

    /// <summary>Tokens of each line, in lower case.</summary>
    public static string[][] Tokenize(IReadOnlyList<string> lines)
    {
        // What ends a line within a line would shift all later ones.
        string[] clean = [.. lines.Select(l => string.Join(' ', l.Split(['\n', '\r', '\v', '\f', '\u0085', '\u2028', '\u2029'])))];
        string[][] tokens = TokenizeStream(string.Join('\n', clean));
        // Markup whose attribute runs over the end of a line swallows that end.
        return tokens.Length == lines.Count ? tokens : [.. clean.Select(l => TokenizeStream(l).SelectMany(t => t).ToArray())];
    }

    private static string[][] TokenizeStream(string stream)
    {
        int[] points = [.. stream.EnumerateRunes().Select(r => r.Value)];
        List<string[]> lines = [];
        List<string> line = [];
        HashSet<(int, int)> fruitless = [];
        lock (making)
        {
            for (int at = 0; at < points.Length;)
            {
                (int end, int pattern) = patterns.Match(points, at, fruitless);
                if (pattern < 0)
                {
                    at++;
                    continue;
                }
                PtbRule rule = rules[pattern];
                end = at + rule.Split(points.AsSpan(at..end));
                string text = Characters(points.AsSpan(at..end));
                string? token = rule.Text is null ? text : rule.Text(text);
                if (token == "\n")
                {
                    lines.Add([.. line]);
                    line.Clear();
                }
                else if (token is not null) line.Add(UnicodeText.Lower(token));
                at = end - rule.GivenBack;
            }
        }
        lines.Add([.. line]);
        return [.. lines];
    }

    private static string Characters(ReadOnlySpan<int> points)
    {
        StringBuilder text = new(points.Length);
        foreach (int point in points) text.Append(new Rune(point));
        return text.ToString();
    }

    private static string WithoutSoftHyphens(string token) => token.Replace("\u00AD", "") is { Length: > 0 } rest ? rest : "-";

    private static string Ampersands(string token) => token.Replace("&amp;", "&", StringComparison.OrdinalIgnoreCase);

    private static string Brackets(string token) => token.Replace("(", "-LRB-").Replace(")", "-RRB-");

    private static string Fractions(string token) =>
        token switch { "\u00BC" => "1/4", "\u00BD" => "1/2", "\u00BE" => "3/4", "\u2153" => "1/3", "\u2154" => "2/3", _ => token };

    /// <summary>Quotation marks in the ASCII forms of the treebank.</summary>
    private static string Closed(string token)
    {
        StringBuilder text = new(token.Length);
        foreach (char c in token.Replace("&apos;", "'"))
            _ = c switch
            {
                '\u0091' or '\u2018' or '\u201B' or '\u2039' => text.Append('`'),
                '\u0092' or '\u2019' or '\u203A' => text.Append('\''),
                '\u0093' or '\u201C' or '\u00AB' => text.Append("``"),
                '\u0094' or '\u201D' or '\u00BB' => text.Append("''"),
                _ => text.Append(c),
            };
        return text.ToString();
    }
}
