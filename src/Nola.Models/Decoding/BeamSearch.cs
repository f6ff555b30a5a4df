namespace Nola.Models;

/// <summary>What beam searches have in common: ranking the continuations of all beams, and scores Σ log p / lengthᵖ.</summary>
internal abstract class BeamSearch(int[] prompt, GenerateOptions options, int limit, int vocabulary) : Search(prompt, options, limit, vocabulary)
{
    protected readonly record struct Continuation(double Score, int Beam, int Token);

    protected double Normalised(double score, int length) => score / Math.Pow(length, Options.LengthPenalty);

    protected int[] Tokens(in Continuation c) => [.. Beams[c.Beam].Tokens, c.Token];

    /// <summary>The best continuations of all beams, the best first; of equal ones the earlier beam's, then the lower token.</summary>
    protected List<Continuation> Best(NextTokens next, int row, int count)
    {
        List<Continuation> all = [];
        for (int b = 0; b < Beams.Count; b++)
            foreach ((int token, double logProbability) in next.Of(row + b))
                all.Add(new(Beams[b].Score + logProbability, b, token));
        all.Sort(static (x, y) => x.Score != y.Score ? y.Score.CompareTo(x.Score) : x.Beam != y.Beam ? x.Beam.CompareTo(y.Beam) : x.Token.CompareTo(y.Token));
        if (all.Count > count) all.RemoveRange(count, all.Count - count);
        return all;
    }
}

/// <summary>
/// The rules of the LoRA and NOLA code (gpt2_beam): a beam whose last token is a stop token is scored Σ log p / lengthᵖ, the
/// stop token counted, and leaves the competition; after the last step every beam that is left is scored the same way; the
/// best score wins, the first of equal ones.
/// </summary>
internal sealed class PublishedBeamSearch(int[] prompt, GenerateOptions options, int limit, int vocabulary) : BeamSearch(prompt, options, limit, vocabulary)
{
    private int[] best = [];
    private double bestScore = double.NegativeInfinity;

    public override int Wanted => Math.Min(Options.Beams, Vocabulary);

    public override int[] Result => best;

    public override void Advance(NextTokens next, int row)
    {
        List<Beam> open = [];
        List<Continuation> continuations = Best(next, row, Options.Beams);
        foreach (Continuation c in continuations)
        {
            int[] tokens = Tokens(c);
            if (Ends(c.Token)) Compete(tokens, c.Score);
            else open.Add(new Beam(tokens, c.Score, c.Beam));
        }
        // Where every token is banned, the beams end as they are.
        if (continuations.Count > 0) Beams = open;
        if (continuations.Count == 0 || (open.Count > 0 && open[0].Tokens.Length == Limit)) End();
        else if (CannotWin()) Beams = [];
    }

    public override void End()
    {
        foreach (Beam beam in Beams) Compete(beam.Tokens, beam.Score);
        Beams = [];
    }

    private void Compete(int[] tokens, double score)
    {
        double normalised = Normalised(score, tokens.Length);
        if (normalised > bestScore) (best, bestScore) = (tokens, normalised);
    }

    // Σ log p never rises, so a beam's score can become no better than with its present sum and the most favourable length.
    // The published code takes all its steps; the result is the same.
    private bool CannotWin()
    {
        if (Beams.Count == 0) return true;
        int favourable = Options.LengthPenalty >= 0 ? Limit : Beams[0].Tokens.Length + 1;
        return bestScore >= Normalised(Beams[0].Score, favourable);
    }
}

/// <summary>
/// The rules of Hugging Face Transformers with early_stopping off: of the best continuations, those that end and are among
/// the first B become hypotheses, scored Σ log p / lengthᵖ over the generated tokens, the stop token counted; the first B
/// others go on. The B best hypotheses are kept. The search ends when there are B and the best open beam, at its present
/// length, scores no better than the worst of them; at the last step every open beam is a hypothesis.
/// </summary>
internal sealed class HuggingFaceBeamSearch(int[] prompt, GenerateOptions options, int limit, int vocabulary) : BeamSearch(prompt, options, limit, vocabulary)
{
    // Best first; of equal ones the earlier.
    private readonly List<(double Score, int[] Tokens)> hypotheses = [];

    // Enough for B that go on, even if every beam could end with every stop token.
    private readonly int ranked = options.Beams * Math.Max(2, 1 + options.StopTokens.Count);

    public override int Wanted => Math.Min(ranked, Vocabulary);

    public override int[] Result => hypotheses.Count == 0 ? [] : hypotheses[0].Tokens;

    public override void Advance(NextTokens next, int row)
    {
        List<Beam> open = [];
        List<Continuation> continuations = Best(next, row, ranked);
        for (int rank = 0; rank < continuations.Count && open.Count < Options.Beams; rank++)
        {
            Continuation c = continuations[rank];
            if (!Ends(c.Token)) open.Add(new Beam(Tokens(c), c.Score, c.Beam));
            else if (rank < Options.Beams) Keep(Tokens(c), c.Score);
        }
        // Where every token is banned, the beams end as they are.
        if (continuations.Count > 0) Beams = open;
        if (continuations.Count == 0 || (open.Count > 0 && open[0].Tokens.Length == Limit) || IsDone()) End();
    }

    public override void End()
    {
        if (!IsDone())
            foreach (Beam beam in Beams)
                Keep(beam.Tokens, beam.Score);
        Beams = [];
    }

    private void Keep(int[] tokens, double score)
    {
        double normalised = Normalised(score, tokens.Length);
        int place = hypotheses.Count;
        while (place > 0 && normalised > hypotheses[place - 1].Score) place--;
        hypotheses.Insert(place, (normalised, tokens));
        if (hypotheses.Count > Options.Beams) hypotheses.RemoveAt(Options.Beams);
    }

    private bool IsDone() => Beams.Count == 0
        || (hypotheses.Count == Options.Beams && hypotheses[^1].Score >= Normalised(Beams[0].Score, Beams[0].Tokens.Length));
}
