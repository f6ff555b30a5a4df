using FsCheck;
using FsCheck.Xunit;
using Nola.Train.Metrics;
using Xunit;

namespace Nola.Tests;

/// <summary>What holds for every corpus.</summary>
public sealed class MetricPropertyTests
{
    private static readonly string[] words = ["the", "pub", "Is", "cheap", "near", "river", ".", "it"];

    private static readonly IMetric[] metrics =
    [
        new Bleu(),
        new Nist(),
        new MtevalBleu(),
        new MtevalNist(),
        new MultiBleu(),
        new RougeL(),
        new Cider(),
        new Meteor(),
        new ChrF(),
        new TranslationEditRate(),
    ];

    [Property(MaxTest = 60)]
    public void An_output_that_is_its_reference_scores_best(NonEmptyArray<byte[]> seeds)
    {
        string[] texts = [.. seeds.Get.Select(s => Sentence([0, 1, 2, 3, .. s ?? []]))];
        Corpus corpus = new(texts, [.. texts.Select(t => new[] { t, "another text" })]);
        Assert.Equal(1, new Bleu().Score(corpus).Value, 1e-12);
        Assert.Equal(1, new MtevalBleu().Score(corpus).Value, 1e-12);
        Assert.Equal(100, new MultiBleu().Score(corpus).Value, 1e-10);
        Assert.Equal(1, new RougeL().Score(corpus).Value, 1e-12);
        Assert.Equal(1, new Meteor().Score(corpus).Value, 1e-12);
        Assert.Equal(1, new ChrF().Score(corpus).Value, 1e-12);
        Assert.Equal(0, new TranslationEditRate().Score(corpus).Value);
    }

    [Property(MaxTest = 60)]
    public void The_order_of_segments_does_not_matter(NonEmptyArray<byte[]> seeds, byte[] noise, int shift)
    {
        (string[] outputs, string[][] references) = Make(seeds.Get, noise);
        int n = outputs.Length, by = (int)((uint)shift % n);
        string[] moved = [.. outputs[by..], .. outputs[..by]];
        string[][] movedReferences = [.. references[by..], .. references[..by]];
        // CIDEr and METEOR read treebank tokens, which may depend on the next line; in these texts they do not.
        foreach (IMetric metric in metrics)
            Assert.Equal(metric.Score(new(outputs, references)).Value, metric.Score(new(moved, movedReferences)).Value, 1e-9);
    }

    [Property(MaxTest = 60)]
    public void Scores_stay_within_their_range(NonEmptyArray<byte[]> seeds, byte[] noise)
    {
        (string[] outputs, string[][] references) = Make(seeds.Get, noise);
        Corpus corpus = new(outputs, references);
        foreach (IMetric metric in metrics)
        {
            Score score = metric.Score(corpus);
            double most = metric.Name switch
            {
                "BLEU" or "ROUGE_L" or "METEOR" or "chrF++" => 1,
                "multi-bleu" => 100,
                "CIDEr" => 10,
                _ => double.MaxValue,
            };
            Assert.InRange(score.Value, 0, most + 1e-9);
            Assert.All(score.Segments, s => Assert.InRange(s, 0, most + 1e-9));
        }
    }

    [Property(MaxTest = 200)]
    public bool TER_is_0_exactly_for_a_reference(byte[] a, byte[] b)
    {
        string output = Sentence([1, .. a]), reference = Sentence([1, .. b]);
        return new TranslationEditRate().Score(new([output], [new[] { reference }])).Value == 0 == (output == reference);
    }

    [Property(MaxTest = 200)]
    public bool TER_is_at_most_the_edit_distance_and_another_reference_never_raises_it(byte[] a, byte[] b, byte[] c)
    {
        string output = Sentence([1, .. a]), reference = Sentence([1, .. b]), other = Sentence([1, .. c]);
        double one = new TranslationEditRate().Score(new([output], [new[] { reference }])).Value;
        double two = new TranslationEditRate().Score(new([output], [new[] { reference, other }])).Value;
        string[] o = output.Split(' '), r = reference.Split(' ');
        return one <= Distance(o, r) / (double)r.Length + 1e-12 && two <= one;
    }

    // Up to 300 symbols: several blocks of 64.
    [Property(MaxTest = 200)]
    public bool Bits_give_the_edit_distance_of_the_table(byte[] a, byte[] b, bool longer)
    {
        int[] first = [.. Repeat(a, longer).Select(x => x % 7), 0], second = [.. Repeat(b, longer).Select(x => x % 5)];
        return new EditDistance(first, 7).To(second) == Distance(first, second);
    }

    [Property(MaxTest = 100)]
    public bool N_grams_of_the_output_are_counted_in_references_as_by_hand(byte[] a, byte[] b)
    {
        int[] output = [.. a.Select(x => x % 3)], reference = [.. b.Select(x => x % 3)];
        long[] hits = new long[4];
        new HypothesisGrams(output, 4).AddHits([reference], hits);
        for (int n = 1; n <= 4; n++)
        {
            Dictionary<string, int> there = Grams(reference, n);
            if (hits[n - 1] != Grams(output, n).Sum(g => Math.Min(g.Value, there.GetValueOrDefault(g.Key)))) return false;
        }
        return true;
    }

    private static Dictionary<string, int> Grams(int[] text, int n) =>
        Enumerable.Range(0, Math.Max(0, text.Length - n + 1))
            .Select(i => string.Join(' ', text[i..(i + n)]))
            .CountBy(g => g)
            .ToDictionary();

    private static IEnumerable<byte> Repeat(byte[] bytes, bool longer) => longer ? Enumerable.Repeat(bytes, 5).SelectMany(x => x) : bytes;

    private static string Sentence(byte[] bytes) => string.Join(' ', bytes.Select(b => words[b % words.Length]));

    private static (string[] Outputs, string[][] References) Make(byte[][] seeds, byte[] noise)
    {
        // Five words at least: shorter ones have a negative number of n-grams for pymteval, which puts its scores out of range.
        string[] outputs = [.. seeds.Select((s, i) => Sentence([(byte)i, 5, 2, 4, 0, .. s ?? []]))];
        return (
            outputs,
            [.. outputs.Select((o, i) => new[] { Sentence([.. noise ?? [], (byte)i]), o + " pub", Sentence([3, 1, .. noise ?? []]) })]);
    }

    private static int Distance<T>(T[] a, T[] b)
    {
        int[,] table = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++)
            for (int j = 0; j <= b.Length; j++)
                table[i, j] = i == 0 ? j
                    : j == 0 ? i
                    : Math.Min(Math.Min(table[i - 1, j], table[i, j - 1]) + 1, table[i - 1, j - 1] + (Equals(a[i - 1], b[j - 1]) ? 0 : 1));
        return table[a.Length, b.Length];
    }
}
