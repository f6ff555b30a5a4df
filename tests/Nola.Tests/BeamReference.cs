using Nola.Models;

namespace Nola.Tests;

/// <summary>
/// Beam search for reading, not for speed: no cache, no batch, no pruning; every sequence is read whole at each step, in
/// double precision from its logits on. Also says by how much its closest decision was taken.
/// </summary>
internal sealed class BeamReference(LanguageModel model, GenerateOptions options)
{
    private readonly int v = model.Shape.Vocabulary;

    /// <summary>The smallest difference between what was taken and what was not.</summary>
    public double Margin { get; private set; } = double.PositiveInfinity;

    public int[] Run(int[] prompt) => options.BeamRules == BeamRules.Published ? Published(prompt) : HuggingFace(prompt);

    private int[] Published(int[] prompt)
    {
        List<(int[] Tokens, double Score)> beams = [([], 0)];
        List<(int[] Tokens, double Score)> ended = [];
        for (int step = 0; step < options.MaxNewTokens && beams.Count > 0; step++)
        {
            List<(int[] Tokens, double Score)> next = Ranked(prompt, beams, options.Beams);
            ended.AddRange(next.Where(b => Stops(b.Tokens[^1])).Select(b => (b.Tokens, Score(b))));
            beams = [.. next.Where(b => !Stops(b.Tokens[^1]))];
        }
        ended.AddRange(beams.Select(b => (b.Tokens, Score(b))));
        return Winner(ended);
    }

    private int[] HuggingFace(int[] prompt)
    {
        List<(int[] Tokens, double Score)> beams = [([], 0)], hypotheses = [];
        int b = options.Beams;
        for (int step = 0; step < options.MaxNewTokens; step++)
        {
            List<(int[] Tokens, double Score)> ranked = Ranked(prompt, beams, b * Math.Max(2, 1 + options.StopTokens!.Count));
            if (ranked.Count > b) Decide(ranked[b - 1].Score, ranked[b].Score);
            beams = [];
            for (int rank = 0; rank < ranked.Count && beams.Count < b; rank++)
            {
                if (!Stops(ranked[rank].Tokens[^1])) beams.Add(ranked[rank]);
                else if (rank < b) Keep(ranked[rank]);
            }
            if (hypotheses.Count < b) continue;
            double worst = hypotheses.Min(h => h.Score), possible = Score(beams[0]);
            Decide(worst, possible);
            if (worst >= possible) return Winner(hypotheses);
        }
        foreach ((int[] Tokens, double Score) beam in beams) Keep(beam);
        return Winner(hypotheses);

        void Keep((int[] Tokens, double Score) beam)
        {
            hypotheses.Add((beam.Tokens, Score(beam)));
            if (hypotheses.Count <= b) return;
            List<(int[] Tokens, double Score)> order = [.. hypotheses.OrderByDescending(h => h.Score)];
            Decide(order[^2].Score, order[^1].Score);
            hypotheses.Remove(order[^1]);
        }
    }

    private double Score((int[] Tokens, double Sum) beam) => beam.Sum / Math.Pow(beam.Tokens.Length, options.LengthPenalty);

    private bool Stops(int token) => options.StopTokens!.Contains(token);

    private int[] Winner(List<(int[] Tokens, double Score)> ended)
    {
        double[] scores = [.. ended.Select(e => e.Score).OrderDescending()];
        if (scores.Length > 1) Decide(scores[0], scores[1]);
        return ended.MaxBy(e => e.Score).Tokens;
    }

    private void Decide(double taken, double left) => Margin = Math.Min(Margin, Math.Abs(taken - left));

    private List<(int[] Tokens, double Score)> Ranked(int[] prompt, List<(int[] Tokens, double Score)> beams, int count)
    {
        List<(int[] Tokens, double Score)> all = [];
        foreach ((int[] tokens, double score) in beams)
        {
            double[] log = LogProbabilities(prompt, tokens);
            for (int token = 0; token < v; token++)
                if (!double.IsNegativeInfinity(log[token])) all.Add(([.. tokens, token], score + log[token]));
        }
        all = [.. all.OrderByDescending(c => c.Score)];
        if (all.Count > count) Decide(all[count - 1].Score, all[count].Score);
        return [.. all.Take(count)];
    }

    private double[] LogProbabilities(int[] prompt, int[] tokens)
    {
        float[] logits = model.Logits([.. prompt, .. tokens]);
        double[] last = [.. logits[^v..].Select(z => (double)z)];
        bool hugging = options.BeamRules == BeamRules.HuggingFace;
        if (hugging) Normalize(last);
        int[] seen = hugging ? [.. prompt, .. tokens] : tokens;
        foreach (int token in seen.ToHashSet())
            last[token] = last[token] < 0 ? last[token] * options.RepetitionPenalty : last[token] / options.RepetitionPenalty;
        if (tokens.Length < options.MinNewTokens)
            foreach (int token in options.StopTokens!) last[token] = double.NegativeInfinity;
        for (int token = 0; token < v; token++)
            if (options.NoRepeatNgram > 0 && Repeats([.. seen, token], options.NoRepeatNgram)) last[token] = double.NegativeInfinity;
        if (!hugging) Normalize(last);
        return last;
    }

    // Whether the last n tokens stand in the sequence before.
    private static bool Repeats(int[] tokens, int n)
    {
        if (tokens.Length < n) return false;
        for (int i = 0; i + n < tokens.Length; i++)
            if (tokens[i..(i + n)].SequenceEqual(tokens[^n..])) return true;
        return false;
    }

    private static void Normalize(double[] z)
    {
        double max = z.Max(), lse = max + Math.Log(z.Sum(x => Math.Exp(x - max)));
        for (int i = 0; i < z.Length; i++) z[i] -= lse;
    }
}
