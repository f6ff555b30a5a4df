using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

public sealed class MixtureTests
{
    [Property(MaxTest = 60)]
    public void Each_source_has_its_share_and_is_read_whole_before_any_of_it_is_read_again(int seed)
    {
        Random random = new(seed);
        TrainSource[] sources = [.. Enumerable.Range(0, 1 + random.Next(5)).Select(i => Source($"s{i}", 1 + random.Next(200), random))];
        double[] parts = [.. sources.Select(_ => 0.05 + random.NextDouble())];
        double[] shares = [.. parts.Select(part => part / parts.Sum())];
        Mixture mixture = new(sources, shares, (ulong)seed);
        int[] read = new int[mixture.Sequences.Length];
        const int Epochs = 7;
        for (int epoch = 0; epoch < Epochs; epoch++)
        {
            List<int> order = mixture.Epoch(epoch);
            Assert.Equal(order, mixture.Epoch(epoch));
            foreach (int sequence in order) read[sequence]++;
            for (int i = 0; i < sources.Length; i++)
            {
                int[] counts = [.. Enumerable.Range(0, read.Length).Where(s => mixture.SourceOf(s) == i).Select(s => read[s])];
                Assert.InRange(counts.Max() - counts.Min(), 0, 1);
                // Up to the sequence that an epoch ends in.
                Assert.InRange(counts.Sum() - (epoch + 1) * mixture.Passes(i) * counts.Length, -0.5, 0.5);
            }
        }
        double all = sources.Sum(source => (double)source.Tokens);
        for (int i = 0; i < sources.Length; i++)
            Assert.Equal(shares[i] * all, mixture.Passes(i) * sources[i].Tokens, 1e-6 * all);
    }

    [Property(MaxTest = 30)]
    public void A_single_source_is_one_pass_an_epoch_as_without_a_mixture(int seed)
    {
        EncodedPair[] pairs = TinyModels.Pairs(new Random(seed), 60, 30, 20);
        Batches plain = new(pairs, 64, 0, 5), mixed = new(Mixture.Of(pairs, []), 64, 0, 5);
        for (int epoch = 0; epoch < 3; epoch++) Assert.Equal(plain.Epoch(epoch), mixed.Epoch(epoch));
    }

    [Fact]
    public void Shares_are_of_names_of_patterns_and_of_the_rest_by_tokens()
    {
        TrainSource[] sources = [Of("a.pairs", 100), Of("b.pairs", 300), Of("c.pairs", 100), Of("books", 50), Of("notes", 150)];
        Assert.Equal([0.1, 0.3, 0.2, 0.1, 0.3], Rounded(Mixture.SharesOf(sources, ["*.pairs=0.4", "c.pairs=0.2"])));
        Assert.Equal([1 / 7.0, 3 / 7.0, 1 / 7.0, 0.5 / 7, 1.5 / 7], Mixture.SharesOf(sources, []), new Close());
        Assert.Equal([0, 0, 1, 0, 0], Mixture.SharesOf(sources, ["c.pairs=1"]));

        static double[] Rounded(double[] shares) => [.. shares.Select(share => Math.Round(share, 12))];
    }

    [Theory]
    [InlineData("'d' fits no source; there are a, b", "d=0.5")]
    [InlineData("'x*' fits no source", "x*=0.5")]
    [InlineData("add up to 1.2; they are parts of 1", "a=0.7", "b=0.5")]
    [InlineData("add up to 0.7 and every source has one", "a=0.3", "b=0.4")]
    [InlineData("'a' is given twice", "a=0.3", "a=0.4")]
    [InlineData("'a=0,5' is not NAME=SHARE", "a=0,5")]
    [InlineData("'a=-1' is not NAME=SHARE", "a=-1")]
    [InlineData("'a' is not NAME=SHARE", "a")]
    public void Shares_that_cannot_be_are_named(string complaint, params string[] mix)
    {
        TrainSource[] sources = [Of("a", 10), Of("b", 10)];
        Assert.Contains(complaint, Assert.Throws<NolaException>(() => Mixture.SharesOf(sources, mix)).Message);
    }

    [Theory]
    [InlineData("x/books.train.txt.gz", "books")]
    [InlineData("sgd.pairs.train.jsonl", "sgd.pairs")]
    [InlineData("corpus.txt.gz", "corpus")]
    [InlineData("corpus", "corpus")]
    [InlineData(".txt", ".txt")]
    public void A_source_is_called_by_its_file(string path, string name) => Assert.Equal(name, PretrainData.NameOf(path));

    [Fact]
    public void Bits_per_byte_do_not_depend_on_the_tokenizer()
    {
        // A model that finds every token equally likely: log2(vocabulary) bits for each token that is predicted.
        string directory = Directory.CreateTempSubdirectory("nola-mix").FullName;
        try
        {
            const string Text = "The cat sat on the mat.\n", File = "a.train.txt";
            System.IO.File.WriteAllText(Path.Combine(directory, File), "Anything.");
            System.IO.File.WriteAllText(Path.Combine(directory, "a.valid.txt"), Text);
            Gpt2Tokenizer tokenizer = Gpt2Tokenizer.WithVocabulary(400);
            TrainSource source = new PretrainData(tokenizer, 64, 400, 0).Text(Path.Combine(directory, File));
            int[] ids = tokenizer.Encode(Text);
            Assert.Equal([.. ids, tokenizer.EndOfText], Assert.Single(source.Validation).Completion);
            Assert.Equal(Text.Length - tokenizer.BytesOf(ids[0]).Length, source.ValidationBytes);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static TrainSource Source(string name, int count, Random random) => new(name, TinyModels.Pairs(random, count, 30, 20), []);

    // A source of so many tokens, one for each sequence.
    private static TrainSource Of(string name, int tokens) =>
        new(name, [.. Enumerable.Repeat(new EncodedPair([1], [2]), tokens)], []);

    private sealed class Close : IEqualityComparer<double>
    {
        public bool Equals(double x, double y) => Math.Abs(x - y) < 1e-12;

        public int GetHashCode(double value) => 0;
    }
}
