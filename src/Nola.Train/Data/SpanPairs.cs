using System.Text.RegularExpressions;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Text pairs out of plain text: each sentence is to be written from a shuffled part of its own words, in short spans. A
/// model that learns this learns to copy from its context and to say the rest itself, which is what data-to-text tasks ask
/// for; permuting and deleting spans is as in BART (Lewis et al. 2020, section 2.2), decoder-only.
/// </summary>
internal static partial class SpanPairs
{
    private const int FewestWords = 4, MostWords = 30;

    // Of spans that the context keeps. The rest is for the model to say.
    private const double Kept = 0.6;

    /// <summary>Reads files (<c>.gz</c> too) into one pair for every sentence of 4 to 30 words.</summary>
    /// <param name="paths">Plain text, documents separated as in <see cref="PlainText"/>.</param>
    /// <param name="seed">Seed of the spans, their order and what is left out.</param>
    /// <exception cref="NolaException">A file is missing or not UTF-8.</exception>
    public static IEnumerable<TextPair> Read(IReadOnlyList<string> paths, int seed)
    {
        Random random = new(seed);
        foreach (string path in paths)
        {
            int line = 0;
            foreach (string paragraph in PlainText.Lines(path))
            {
                line++;
                if (paragraph == PlainText.Separator) continue;
                foreach (string sentence in SentenceEnd().Split(paragraph))
                    if (Pair(sentence, random, $"{path}:{line}") is { } pair)
                        yield return pair;
            }
        }
    }

    /// <summary>A sentence with a context of its own spans; null when it is too short or too long.</summary>
    internal static TextPair? Pair(string sentence, Random random, string place = "")
    {
        string[] words = sentence.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        if (words.Length is < FewestWords or > MostWords) return null;
        List<string> spans = [];
        for (int i = 0, length; i < words.Length; i += length)
        {
            length = Math.Min(random.Next(10) switch { < 5 => 1, < 8 => 2, _ => 3 }, words.Length - i);
            string span = string.Join(' ', words, i, length).Trim('.', ',', ';', ':', '!', '?', '"', '\'', '(', ')');
            if (span.Length > 0 && random.NextDouble() < Kept) spans.Add(span);
        }
        if (spans.Count == 0) return null;
        string[] shuffled = [.. spans];
        random.Shuffle(shuffled);
        // Lists of values, or names and values, as data sets write them.
        bool named = random.Next(2) == 0;
        string context = shuffled[0];
        for (int i = 1; i < shuffled.Length; i++) context += (named && i % 2 == 1 ? " : " : " | ") + shuffled[i];
        return new TextPair(context, string.Join(' ', words), place);
    }

    [GeneratedRegex(@"(?<=[.!?]""?)\s+")]
    private static partial Regex SentenceEnd();
}
