using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// An expression that finds words, written for an engine that sees characters where .NET sees halves of those beyond U+FFFF: such a
/// character is shown to the expression as another one of its category.
/// </summary>
internal sealed partial class WordPattern
{
    // For one word. An expression that tries every way for a long one would take days.
    private static readonly TimeSpan longest = TimeSpan.FromSeconds(1);

    // What Llama 3's and Qwen2's have in common: contractions and letters first, signs and white space last.
    private const string ModernStart = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
    private const string ModernEnd = @"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    // A character of each general category, in the order of the enumeration, that expressions do not name.
    private const string Standing = "\u0186\u0188\u01C5\u02B0\u01BB\u0302\u0903\u20DD\u0664\u2160\u00BC"
        + "\u2003\u2028\u2029\u0001\u200E\uD800\uE000"
        + "\u203F\u2010\u2045\u2046\u00AB\u00BB\u00A7\u2200\u20A0\u02C2\u00A6\uFFFF";

    private readonly Regex regex;

    private WordPattern(Regex regex) => this.regex = regex;

    /// <summary>GPT-2's.</summary>
    public static WordPattern OfGpt2 { get; } = new(Gpt2Tokenizer.Words());

    /// <summary>Qwen2's and Qwen3's, whose digits are words of their own.</summary>
    public static WordPattern OfQwen2 { get; } = new(Qwen2Words());

    /// <summary>Reads an expression.</summary>
    /// <param name="pattern">As <c>tokenizer.json</c> writes it, for Oniguruma.</param>
    /// <param name="place">The file, for messages.</param>
    /// <exception cref="NolaException">It has what .NET's expressions do not.</exception>
    public static WordPattern Parse(string pattern, string place)
    {
        // Those of the common families are compiled with this library.
        Regex[] known = [Gpt2Tokenizer.Words(), Llama3Words(), Qwen2Words()];
        return new(known.FirstOrDefault(regex => regex.ToString() == pattern) ?? Expression(pattern, place));
    }

    /// <summary>An expression for .NET.</summary>
    /// <inheritdoc cref="Parse"/>
    public static Regex Expression(string pattern, string place)
    {
        try
        {
            return new Regex(pattern, RegexOptions.CultureInvariant | RegexOptions.Multiline, longest);
        }
        catch (ArgumentException error)
        {
            throw new NolaException($"{place}: the expression {Quoted.Of(pattern)} cannot be read ({error.Message.TrimEnd('.')}).", error);
        }
    }

    /// <summary>Adds where each word of a text ends: what is found, and what lies between.</summary>
    /// <exception cref="NolaException">The expression takes too long.</exception>
    public void Cut(ReadOnlySpan<char> text, List<int> ends)
    {
        if (text.IndexOfAnyInRange('\uD800', '\uDFFF') < 0)
        {
            Find(text, ends);
            return;
        }
        (char[] shown, int[] places) = Shown(text);
        int first = ends.Count;
        Find(shown, ends);
        for (int i = first; i < ends.Count; i++) ends[i] = places[ends[i]];
    }

    private void Find(ReadOnlySpan<char> text, List<int> ends)
    {
        int last = 0;
        try
        {
            foreach (ValueMatch word in regex.EnumerateMatches(text))
            {
                if (word.Length == 0) continue;
                if (word.Index > last) ends.Add(word.Index);
                ends.Add(last = word.Index + word.Length);
            }
        }
        catch (RegexMatchTimeoutException error)
        {
            throw new NolaException($"The tokenizer's expression {Quoted.Of(regex.ToString())} takes too long to cut a text.", error);
        }
        if (last < text.Length) ends.Add(text.Length);
    }

    // One unit for each character, and where each begins in the text.
    private static (char[] Shown, int[] Places) Shown(ReadOnlySpan<char> text)
    {
        List<char> shown = new(text.Length);
        List<int> places = new(text.Length + 1);
        for (int i = 0; i < text.Length;)
        {
            Rune.DecodeFromUtf16(text[i..], out Rune rune, out int units);
            places.Add(i);
            shown.Add(units == 1 ? text[i] : Standing[(int)Rune.GetUnicodeCategory(rune)]);
            i += units;
        }
        places.Add(text.Length);
        return ([.. shown], [.. places]);
    }

    [GeneratedRegex(ModernStart + @"\p{N}{1,3}" + ModernEnd, RegexOptions.CultureInvariant)]
    private static partial Regex Llama3Words();

    [GeneratedRegex(ModernStart + @"\p{N}" + ModernEnd, RegexOptions.CultureInvariant)]
    private static partial Regex Qwen2Words();
}
