using System.Runtime.CompilerServices;
using System.Text;
using System.Text.RegularExpressions;

namespace Nola.Train.Metrics;

/// <summary>
/// METEOR's tokenization of English (<c>-norm</c>, derived there from the Moses tokenizer): signs apart, quotation marks and
/// dashes made alike, hyphens between words dropped, <c>'s</c> apart, full stops apart except in abbreviations, all in lower
/// case.
/// </summary>
internal static partial class MeteorNormalizer
{
    private const string Alpha = @"A-Za-zÀ-ÖØ-öø-ž\u0400-\u04FF\u0500-\u0527\uA640-\uA66E\uA67E-\uA697\u1D00-\u1D7F";
    private const char HiddenDot = '\uFFFE';    // not a character: no text has it

    // A prefix of a full stop that ends no sentence; true: only before a number.
    private static readonly Dictionary<string, bool> prefixes = MeteorData.Lines("nonbreaking-prefixes.txt")
        .Select(line => line.Split(' '))
        .ToDictionary(p => p[0], p => p.Length > 1);

    /// <summary>The words of a text.</summary>
    public static string[] Words(string text) =>
        UnicodeText.Lower(Normalize(text)).Split([' ', '\t', '\n', '\r', '\f'], StringSplitOptions.RemoveEmptyEntries);

    private static string Normalize(string text)
    {
        text = SeparateSigns($" {text} ");
        if (text.Contains("..", StringComparison.Ordinal)) text = Dots().Replace(text, m => $" {new string(HiddenDot, m.Length)} ");
        if (text.Contains(','))
            text = CommaBeforeDigit().Replace(CommaAfterDigit().Replace(Comma().Replace(text, "$1 , $2"), "$1 , $2"), "$1 , $2");
        text = text.Replace('`', '\'').Replace('‘', '\'').Replace('’', '\'');
        text = text.Replace("“", " \" ").Replace("”", " \" ").Replace("''", " \" ");
        text = text.Replace("–", "-").Replace("--", "-");
        if (text.Contains('-')) text = HyphenInWord().Replace(text, "$1 $2");
        if (text.Contains('\'')) text = SeparateApostrophes(text);
        string[] words = text.Split([' ', '\t', '\n', '\r', '\f'], StringSplitOptions.RemoveEmptyEntries);
        text = string.Join(' ', words.Select((word, i) => FullStop(word, i + 1 < words.Length ? words[i + 1] : "")));
        return UnicodeSpaces().Replace(text.Replace(HiddenDot, '.'), " ");
    }

    private static string SeparateApostrophes(string text)
    {
        text = ApostropheAlone().Replace(text, "$1 ' $2");
        text = ApostropheBefore().Replace(text, "$1 ' $2");
        text = ApostropheAfter().Replace(text, "$1 ' $2");
        text = ApostropheWithin().Replace(text, "$1 '$2");
        return ApostropheOfYear().Replace(text, "$1 '$2");
    }

    // Everything but letters, digits, white space and the signs that later steps decide on.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static string SeparateSigns(string text)
    {
        StringBuilder result = new(text.Length + 16);
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (char.IsAsciiLetterOrDigit(c)
                || c is ' ' or '.' or '\'' or '`' or ',' or '-' or '‘' or '’' or (>= '\t' and <= '\r') || IsForeignLetter(c))
                result.Append(c);
            // A character outside the basic plane is one sign, not two.
            else if (char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
                result.Append(' ').Append(c).Append(text[++i]).Append(' ');
            else result.Append(' ').Append(c).Append(' ');
        }
        return result.ToString();
    }

    // As in Alpha: western European and Cyrillic.
    private static bool IsForeignLetter(char c) => c is (>= 'À' and <= 'ž' and not ('×' or '÷')) or (>= '\u0400' and <= '\u0527')
        or (>= '\uA640' and <= '\uA66E') or (>= '\uA67E' and <= '\uA697') or (>= '\u1D00' and <= '\u1D7F');

    private static string FullStop(string word, string next)
    {
        if (word.Length < 2 || !word.EndsWith('.')) return word;
        string prefix = word[..^1];
        if (prefix.Contains('.') && Letter().IsMatch(prefix)) return word.Replace(".", "");
        bool known = prefixes.TryGetValue(prefix, out bool numeric);
        bool keeps = (known && !numeric) || next is [>= 'a' and <= 'z', ..] || (known && next is [>= '0' and <= '9', ..]);
        return keeps ? word : prefix + " .";
    }

    [GeneratedRegex(@"\.\.+")]
    private static partial Regex Dots();

    [GeneratedRegex("([^0-9]),([^0-9])")]
    private static partial Regex Comma();

    [GeneratedRegex("([0-9]),([^0-9])")]
    private static partial Regex CommaAfterDigit();

    [GeneratedRegex("([^0-9]),([0-9])")]
    private static partial Regex CommaBeforeDigit();

    [GeneratedRegex("([0-9" + Alpha + @".])-([0-9" + Alpha + "])")]
    private static partial Regex HyphenInWord();

    [GeneratedRegex("([^" + Alpha + "])'([^" + Alpha + "])")]
    private static partial Regex ApostropheAlone();

    [GeneratedRegex("([^0-9" + Alpha + "])'([" + Alpha + "])")]
    private static partial Regex ApostropheBefore();

    [GeneratedRegex("([" + Alpha + "])'([^" + Alpha + "])")]
    private static partial Regex ApostropheAfter();

    [GeneratedRegex("([" + Alpha + "])'([" + Alpha + "])")]
    private static partial Regex ApostropheWithin();

    [GeneratedRegex("([0-9])'(s)")]
    private static partial Regex ApostropheOfYear();

    [GeneratedRegex("[" + Alpha + "]")]
    private static partial Regex Letter();

    [GeneratedRegex(@"[ \u2000-\u200A\u202F\u205F\u3000\u00A0]+")]
    private static partial Regex UnicodeSpaces();
}
