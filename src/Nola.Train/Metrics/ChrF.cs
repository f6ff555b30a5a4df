namespace Nola.Train.Metrics;

/// <summary>
/// chrF++ of Popović (2017) as her script computes it (GenerationEval's), in [0, 1]: the mean over character n-grams of
/// 1 … 6 (without spaces) and word n-grams of 1 … 2 of F₂ = 5·P·R / (4·P + R), from counts summed over the outputs, each
/// beside the reference with which it alone scores best. A word's last, else its first sign of punctuation stands apart.
/// </summary>
public sealed class ChrF : IMetric
{
    private const int CharacterOrder = 6, WordOrder = 2;
    private const double BetaSquared = 4;
    private const string Punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

    /// <inheritdoc/>
    public string Name => "chrF++";

    /// <inheritdoc/>
    public Score Score(Corpus corpus)
    {
        NGramTable words = new();
        Statistics total = new();
        double[] segments = new double[corpus.Count];
        for (int i = 0; i < segments.Length; i++)
        {
            Text output = new(words, corpus.Hypotheses[i]);
            HypothesisGrams characterGrams = new(output.Characters, CharacterOrder), wordGrams = new(output.Words, WordOrder);
            Statistics? best = null;
            segments[i] = -1;
            foreach (string reference in corpus.References[i])
            {
                Text text = new(words, reference);
                Statistics here = new();
                here.Add(characterGrams, output.Characters, text.Characters, CharacterOrder, 0);
                here.Add(wordGrams, output.Words, text.Words, WordOrder, CharacterOrder);
                if (here.F() is double f && f > segments[i]) (segments[i], best) = (f, here);
            }
            total.Add(best!);
        }
        return new(
            Name, total.F(), segments,
            new(corpus, "chrF++.py", ("case", "mixed"), ("nc", "6"), ("nw", "2"), ("beta", "2"), ("space", "no")));
    }

    private static IEnumerable<string> Separate(string word)
    {
        if (word.EnumerateRunes().Skip(1).Any())
        {
            if (Punctuation.Contains(word[^1])) return [word[..^1], word[^1..]];
            if (Punctuation.Contains(word[0])) return [word[..1], word[1..]];
        }
        return [word];
    }

    /// <summary>A text's characters without spaces, and its words.</summary>
    private sealed class Text(NGramTable numbers, string text)
    {
        public int[] Characters { get; } = [.. UnicodeText.Strip(text).Replace(" ", "").EnumerateRunes().Select(r => r.Value)];

        public int[] Words { get; } = numbers.Words([.. UnicodeText.Words(text).SelectMany(Separate)]);
    }

    /// <summary>N-grams in common, in the output and in the reference, of every order.</summary>
    private sealed class Statistics
    {
        private readonly double[] common = new double[CharacterOrder + WordOrder], output = new double[CharacterOrder + WordOrder];
        private readonly double[] reference = new double[CharacterOrder + WordOrder];

        public void Add(Statistics other)
        {
            for (int n = 0; n < common.Length; n++)
            {
                common[n] += other.common[n];
                output[n] += other.output[n];
                reference[n] += other.reference[n];
            }
        }

        public void Add(HypothesisGrams grams, int[] hypothesis, int[] text, int order, int offset)
        {
            long[] hits = new long[order];
            grams.AddHits(grams.CountIn(text), hits);
            // An order that the reference is too short for is not counted in the output either.
            for (int n = 0; n < order && n < text.Length; n++)
            {
                common[offset + n] = hits[n];
                output[offset + n] = Math.Max(0, hypothesis.Length - n);
                reference[offset + n] = text.Length - n;
            }
        }

        public double F()
        {
            double sum = 0;
            for (int n = 0; n < common.Length; n++)
            {
                if (common[n] == 0) continue;
                double precision = common[n] / output[n], recall = common[n] / reference[n];
                sum += (1 + BetaSquared) * precision * recall / (BetaSquared * precision + recall);
            }
            return sum / common.Length;
        }
    }
}
