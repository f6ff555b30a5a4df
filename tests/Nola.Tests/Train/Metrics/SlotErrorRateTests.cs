using FsCheck.Xunit;
using Nola.Tensors;
using Nola.Train;
using Nola.Train.Metrics;
using Xunit;

namespace Nola.Tests;

public sealed class SlotErrorRateTests
{
    private const string Punter =
        "name : The Punter | Type : restaurant | food : Indian | price : cheap | family friendly : no | near : Café Rouge";

    // What an output says, counted by hand: slots that are left out, said otherwise, and added.
    [Theory]
    [InlineData(0, 0, 0, "The Punter is a cheap Indian restaurant near Café Rouge. It is not family-friendly.")]
    [InlineData(0, 0, 0, "Near Café  Rouge, adults only: the punter, an inexpensive restaurant with Indian food")]
    [InlineData(1, 0, 0, "The Punter is a cheap Indian restaurant near Café Rouge.")]
    [InlineData(0, 1, 0, "The Punter is a cheap Indian restaurant near Café Rouge. It is family friendly.")]
    [InlineData(0, 1, 0, "The Punter is a cheap Indian pub near Café Rouge; no kids.")]
    [InlineData(0, 0, 1, "The Punter is a cheap Indian restaurant and pub near Café Rouge; no kids.")]
    [InlineData(0, 0, 2, "The Punter is a cheap Indian restaurant by the river near Café Rouge, rated 3 out of 5 stars; no kids.")]
    [InlineData(1, 1, 0, "The Eagle is an expensive Indian restaurant near Café Rouge. It is not child friendly.")]
    [InlineData(6, 0, 0, "")]
    public void Slots_are_found_by_how_they_are_said(int missing, int wrong, int added, string output)
    {
        SlotPatterns patterns = new(SlotErrorRate.Slots(Punter + " | customer rating : low | area : riverside"));
        Assert.Equal(new SlotErrors(missing, wrong, added), patterns.Compare(SlotErrorRate.Slots(Punter), output));
    }

    [Theory]
    [InlineData("price : £20-25", "You can expect to spend £20-£25.")]
    [InlineData("price : less than £20", "It costs under 20 pounds.")]
    [InlineData("price : high", "Its prices are rather high.")]
    [InlineData("price : moderate", "It has a moderate price range.")]
    [InlineData("customer rating : 1 out of 5", "It has a rating of 1 out of 5 stars.")]
    [InlineData("customer rating : low", "Customers rated it low.")]
    [InlineData("customer rating : 5 out of 5", "a five-star place")]
    [InlineData("area : city centre", "in the center of the city")]
    [InlineData("area : riverside", "close to the river")]
    [InlineData("family friendly : yes", "Children are welcome.")]
    [InlineData("family friendly : no", "It does not welcome families.")]
    [InlineData("Type : coffee shop", "a café")]
    [InlineData("food : English", "British food")]
    [InlineData("rooms : 12 (two of them large)", "It has 12 (two of them large).")]
    public void Each_value_is_said_in_several_ways(string slot, string output)
    {
        Slot[] slots = SlotErrorRate.Slots(slot);
        Assert.Equal(default, new SlotPatterns(slots).Compare(slots, output));
        Assert.Equal(new SlotErrors(1, 0, 0), new SlotPatterns(slots).Compare(slots, "A place."));
    }

    [Property(MaxTest = 100)]
    public void Values_of_other_attributes_are_found_as_themselves(int seed)
    {
        Random random = new(seed);
        string[] values = [.. Enumerable.Range(0, 1 + random.Next(6)).Select(i => $"v{i} {random.Next(1000)}")];
        Slot[] slots = SlotErrorRate.Slots(string.Join(" | ", values.Select((value, i) => $"a{i} : {value}")));
        string[] said = [.. values.Where(_ => random.Next(2) == 0)];
        string output = string.Join(", ", said.OrderBy(_ => random.Next()).Select(value => value.ToUpperInvariant()));
        Assert.Equal(new SlotErrors(values.Length - said.Length, 0, 0), new SlotPatterns(slots).Compare(slots, output));
    }

    [Fact]
    public void References_of_E2E_are_scored_as_the_published_script_scores_them()
    {
        // slot_error.py of Dušek et al. finds 181 + 3,069 + 465 errors in the 32,332 slots of the 4,693 references: 11.5 percent. Our
        // patterns know more ways to say a price and find sushi Japanese.
        TextPairs test = EmbeddedData.E2E("test");
        string[] texts = [.. test.Select(pair => pair.Completion)];
        Corpus corpus = new(texts, [.. texts.Select(text => new[] { text })]) { Contexts = [.. test.Select(pair => pair.Context)] };
        Score score = Assert.Single(Scorer.Score(corpus, new() { Metrics = ["ser"] }));
        Assert.InRange(score.Value, 10, 11.5);
        Assert.Equal(4693, score.Segments.Count);
        Assert.Equal(32_332, test.Sum(pair => SlotErrorRate.Slots(pair.Context).Length));
    }

    [Fact]
    public void Contexts_are_asked_for()
    {
        Corpus corpus = new(["a"], [["a"]]);
        Assert.Contains("there are none", Assert.Throws<NolaException>(() => Scorer.Score(corpus, new() { Metrics = ["SER"] })).Message);
        Assert.DoesNotContain("SER", Scorer.Score(corpus).Select(score => score.Metric));
        Assert.Contains("2 contexts and 1 hypotheses", Assert.Throws<NolaException>(() => corpus.With(["a", "b"])).Message);
        Assert.Contains(
            "no context has a slot",
            Assert.Throws<NolaException>(() => Scorer.Score(corpus.With(["b"]), new() { Metrics = ["SER"] })).Message);
    }
}
