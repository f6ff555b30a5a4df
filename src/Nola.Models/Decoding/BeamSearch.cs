namespace Nola.Models;

/// <summary>What beam searches have in common: ranking the continuations of all beams, and scores Σ log p / lengthᵖ.</summary>
internal abstract class BeamSearch(int[] prompt, GenerateOptions options, int limit, int vocabulary)
    : Search(prompt, options, limit, vocabulary)
{
    protected readonly record struct Next(double Score, int Beam, int Token, double LogProbability);

    protected double Normalized(double score, int length) => score / Math.Pow(length, Options.LengthPenalty);

    protected int[] Tokens(in Next c) => [.. Beams[c.Beam].Tokens, c.Token];

    protected double[] LogProbabilities(in Next c) => [.. Beams[c.Beam].LogProbabilities, c.LogProbability];

    /// <summary>The best continuations of all beams, the best first; of equal ones the earlier beam's, then the lower token.</summary>
    protected List<Next> Best(NextTokens tokens, int row, int count)
    {
        List<Next> all = [];
        for (int b = 0; b < Beams.Count; b++)
            foreach ((int token, double logProbability) in tokens.Of(row + b, Wanted))
                all.Add(new(Beams[b].Score + logProbability, b, token, logProbability));
        all.Sort(static (x, y) =>
            x.Score != y.Score ? y.Score.CompareTo(x.Score) : x.Beam != y.Beam ? x.Beam.CompareTo(y.Beam) : x.Token.CompareTo(y.Token));
        if (all.Count > count) all.RemoveRange(count, all.Count - count);
        return all;
    }
}

/// <summary>
/// The rules of the LoRA and NOLA code (gpt2_beam): a beam whose last token is a stop token is scored Σ log p / lengthᵖ, the
/// stop token counted, and leaves the competition; after the last step every beam that is left is scored the same way; the
/// best score wins, the first of equal ones.
/// </summary>
internal sealed class PublishedBeamSearch(int[] prompt, GenerateOptions options, int limit, int vocabulary)
    : BeamSearch(prompt, options, limit, vocabulary)
{
    private Decoded best = Decoded.Nothing;
    private double bestScore = double.NegativeInfinity;

    public override int Wanted => Math.Min(Options.Beams, Vocabulary);

    public override Decoded Result => best;

    public override void Advance(NextTokens next, int row)
    {
        List<Beam> open = [];
        List<Next> continuations = Best(next, row, Options.Beams);
        foreach (Next c in continuations)
        {
            Decoded said = new(Tokens(c), LogProbabilities(c));
            if (Ends(c.Token)) Compete(said, c.Score);
            else open.Add(new Beam(said.Tokens, said.LogProbabilities, c.Score, c.Beam));
        }
        // Where every token is banned, the beams end as they are.
        if (continuations.Count > 0) Beams = open;
        if (continuations.Count == 0 || (open.Count > 0 && open[0].Tokens.Length == Limit)) End();
        else if (CannotWin()) Beams = [];
    }

    public override void End()
    {
        foreach (Beam beam in Beams) Compete(new(beam.Tokens, beam.LogProbabilities), beam.Score);
        Beams = [];
    }

    private void Compete(Decoded said, double score)
    {
        double normalized = Normalized(score, said.Tokens.Length);
        if (normalized > bestScore) (best, bestScore) = (said, normalized);
    }

    // Σ log p never rises, so a beam's score can become no better than with its present sum and the most favorable length.
    // The published code takes all its steps; the result is the same.
    private bool CannotWin()
    {
        if (Beams.Count == 0) return true;
        int favorable = Options.LengthPenalty >= 0 ? Limit : Beams[0].Tokens.Length + 1;
        return bestScore >= Normalized(Beams[0].Score, favorable);
    }
}

/// <summary>
/// The rules of Hugging Face Transformers with early_stopping off: of the best continuations, those that end and are among
/// the first B become hypotheses, scored Σ log p / lengthᵖ over the generated tokens, the stop token counted; the first B
/// others go on. The B best hypotheses are kept. The search ends when there are B and the best open beam, at its present
/// length, scores no better than the worst of them; at the last step every open beam is a hypothesis.
/// </summary>
internal sealed class HuggingFaceBeamSearch(int[] prompt, GenerateOptions options, int limit, int vocabulary)
    : BeamSearch(prompt, options, limit, vocabulary)
{
    // Best first; of equal ones the earlier.
    private readonly List<(double Score, Decoded Said)> hypotheses = [];

    // Enough for B that go on, even if every beam could end with every stop token.
    private readonly int ranked = options.Beams * Math.Max(2, 1 + options.StopTokens!.Count);

    public override int Wanted => Math.Min(ranked, Vocabulary);

    public override Decoded Result => hypotheses.Count == 0 ? Decoded.Nothing : hypotheses[0].Said;

    public override void Advance(NextTokens next, int row)
    {
        List<Beam> open = [];
        List<Next> continuations = Best(next, row, ranked);
        for (int rank = 0; rank < continuations.Count && open.Count < Options.Beams; rank++)
        {
            Next c = continuations[rank];
            Decoded said = new(Tokens(c), LogProbabilities(c));
            if (!Ends(c.Token)) open.Add(new Beam(said.Tokens, said.LogProbabilities, c.Score, c.Beam));
            else if (rank < Options.Beams) Keep(said, c.Score);
        }
        // Where every token is banned, the beams end as they are.
        if (continuations.Count > 0) Beams = open;
        if (continuations.Count == 0 || (open.Count > 0 && open[0].Tokens.Length == Limit) || IsDone()) End();
    }

    public override void End()
    {
        if (!IsDone())
            foreach (Beam beam in Beams)
                Keep(new(beam.Tokens, beam.LogProbabilities), beam.Score);
        Beams = [];
    }

    private void Keep(Decoded said, double score)
    {
        double normalized = Normalized(score, said.Tokens.Length);
        int place = hypotheses.Count;
        while (place > 0 && normalized > hypotheses[place - 1].Score) place--;
        hypotheses.Insert(place, (normalized, said));
        if (hypotheses.Count > Options.Beams) hypotheses.RemoveAt(Options.Beams);
    }

    private bool IsDone() => Beams.Count == 0
        || (hypotheses.Count == Options.Beams && hypotheses[^1].Score >= Normalized(Beams[0].Score, Beams[0].Tokens.Length));
}
