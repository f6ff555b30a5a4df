using FsCheck.Xunit;
using Nola.Tensors;
using Nola.Train.Metrics;
using Xunit;

namespace Nola.Tests;

/// <summary>What long and repetitive texts cost: seconds and megabytes, or a refusal, and never hours.</summary>
public sealed class MetricCostTests
{
    private const string TooLong = "it and its references have so many words in common that the search would not end in seconds; "
        + "score shorter texts, or choose metrics without ";

    // Each needs but a second or two; without bounds it would be minutes or hours.
    private static readonly TimeSpan soon = TimeSpan.FromSeconds(60);

    private static readonly string[] distinct = [.. Enumerable.Range(0, 150_000).Select(i => $"w{i}")];

    // Two words of the reference are there; all others of the output are too many, or one stands for the third word.
    [Fact]
    public void TER_of_a_very_long_output_is_known_where_no_shift_can_help()
    {
        Corpus corpus = new([Repeated("A third one . ", 90_000)], [["The third ."]]);
        Assert.Equal((360_000 - 2) / 3.0, Soon(() => new TranslationEditRate().Score(corpus).Value));
    }

    [Fact]
    public void TER_skips_shifts_that_change_nothing()
    {
        Corpus corpus = new([Repeated("a ", 300) + "b"], [["b " + Repeated("a ", 300)]]);
        // One shift, of the b.
        Assert.Equal(1 / 301.0, Soon(() => new TranslationEditRate().Score(corpus).Value));
    }

    [Theory]
    [InlineData("TER", 2_000)]
    [InlineData("METEOR", 3_000)]
    public void A_search_that_would_not_end_is_refused_and_names_the_first_such_output(string metric, int length)
    {
        Random random = new(1);
        string[] outputs = [.. Enumerable.Range(0, 4).Select(i => i < 2 ? "a b" : Letters())];
        Corpus corpus = new(outputs, [.. outputs.Select(_ => new[] { Letters() })]);
        string error = Assert.Throws<NolaException>(() => Soon(() => Scorer.Score(corpus, new() { Metrics = [metric] }))).Message;
        Assert.Equal($"Hypothesis 3 is too long for {metric}: {TooLong}{metric}.", error);

        string Letters() => string.Join(' ', Enumerable.Range(0, length).Select(_ => random.Next(2) == 0 ? "a" : "b"));
    }

    [Fact]
    public void METEOR_makes_only_paths_that_stay_in_its_beam()
    {
        MeteorLexicon lexicon = new(null);
        MeteorWord[] output = Words(Repeated("a third one . ", 20_000)), reference = Words("the third .");
        long before = GC.GetAllocatedBytesForCurrentThread();
        MeteorAligner alignment = new(output, reference, null, new("METEOR", 0, 10_000_000));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 64 << 20);
        Assert.Equal([null, 1, 3], alignment.Matches.Select(match => match?.OutputStart));

        MeteorWord[] Words(string text) => [.. text.Split(' ').Where(word => word.Length > 0).Select(lexicon.Get)];
    }

    [Fact]
    public void ROUGE_L_of_long_texts_takes_a_word_for_64_rows()
    {
        string[] moved = [.. distinct[120_000..], .. distinct[..120_000]];
        Corpus corpus = new([string.Join(' ', distinct)], [[string.Join(' ', moved)]]);
        Assert.Equal(0.8, Soon(() => new RougeL().Score(corpus).Value), 1e-12);
    }

    [Fact]
    public void An_edit_distance_takes_no_table_of_all_words_and_places()
    {
        int[] sequence = [.. Enumerable.Range(0, 150_000)];
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Equal(2, new EditDistance(sequence, 150_000).To([7, .. sequence[..^1]]));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 4 << 20);
    }

    // Each a could begin an address, whose @ is looked for to the end of the text.
    [Fact]
    public void A_text_of_signs_without_spaces_is_not_read_again_from_each_of_them()
    {
        string[] tokens = Soon(() => PtbTokenizer.Tokenize([Repeated("a;", 200_000)])[0]);
        Assert.Equal(400_000, tokens.Length);
        Assert.Equal(["a", ";"], tokens.Distinct());
    }

    [Property(MaxTest = 200)]
    public bool Bits_give_the_longest_common_subsequence_of_the_table(byte[] a, byte[] b, bool longer)
    {
        string[] first = [.. Words(a, 7)], second = [.. Words(b, 5)];
        int[,] table = new int[first.Length + 1, second.Length + 1];
        for (int i = 1; i <= first.Length; i++)
            for (int j = 1; j <= second.Length; j++)
                table[i, j] = first[i - 1] == second[j - 1] ? table[i - 1, j - 1] + 1 : Math.Max(table[i - 1, j], table[i, j - 1]);
        return CommonSubsequence.Length(first, second) == table[first.Length, second.Length];

        // Up to 300 words: several blocks of 64.
        IEnumerable<string> Words(byte[] bytes, int kinds) =>
            Enumerable.Repeat(bytes, longer ? 6 : 1).SelectMany(x => x).Select(x => $"{x % kinds}");
    }

    [Property(MaxTest = 100)]
    public bool Fruitless_places_do_not_change_what_is_matched(byte[] bytes)
    {
        int[] text = [.. Enumerable.Repeat(bytes, 20).SelectMany(x => x).Select(b => (int)"aab;;@. "[b % 8])];
        LazyDfa automaton = new("a[ab;]*@a", "(a;)+", "[ab]+", "[;@ ]", @"\.[ab;. ]+@");
        HashSet<(int, int)> fruitless = [];
        return Enumerable.Range(0, text.Length).All(at => automaton.Match(text, at) == automaton.Match(text, at, fruitless));
    }

    private static string Repeated(string text, int times) => string.Concat(Enumerable.Repeat(text, times));

    private static T Soon<T>(Func<T> value)
    {
        Task<T> task = Task.Factory.StartNew(value, TaskCreationOptions.LongRunning);
        Assert.True(((IAsyncResult)task).AsyncWaitHandle.WaitOne(soon), "still running after a minute");
        return task.GetAwaiter().GetResult();
    }
}
