using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// What each sequence's options say of single tokens:
/// what is added to its logit, no n-gram twice, no stop token too early, a penalty for repetition.
/// </summary>
internal static class TokenRules
{
    /// <summary>Whether log-probabilities are changed, which do not sum to one any more, or logits, which are normalized then.</summary>
    public static bool AfterNormalizing(GenerateOptions options) => options.BeamRules == BeamRules.HuggingFace && options.Beams > 1;

    /// <summary>Changes the logits of each row by the options of its sequence.</summary>
    /// <param name="logits">(S or more, V)</param>
    /// <param name="sequences">What each row continues.</param>
    /// <param name="logSums">Log of the sum of exponentials of each row, where a row's options need it before. (S or more)</param>
    public static void Apply(Tensor logits, IReadOnlyList<(Search Search, int[] Generated)> sequences, Tensor logSums)
    {
        int vocabulary = logits.Shape.Columns;
        Shift(logits, sequences);
        int[][] seen = [.. sequences.Select(s => SeesPrompt(s.Search.Options) ? (int[])[.. s.Search.Prompt, .. s.Generated] : s.Generated)];
        foreach ((float penalty, bool after) in sequences.Select(s => Penalty(s.Search.Options)).Where(p => p.Penalty != 1).Distinct())
        {
            using TokenLists lists = new(
                logits, seen.Select((tokens, s) => Penalty(sequences[s].Search.Options) == (penalty, after) ? tokens.Distinct() : []));
            logits.Device.Penalize(logits, lists.Starts, lists.Ids, penalty, after ? logSums : null);
        }
        int[][] banned =
            [.. seen.Select((tokens, s) => Banned(tokens, sequences[s].Search.Options, sequences[s].Generated.Length, vocabulary))];
        if (banned.All(tokens => tokens.Length == 0)) return;
        using TokenLists bans = new(logits, banned);
        logits.Device.Ban(logits, bans.Starts, bans.Ids);
    }

    /// <summary>The tokens that would complete an n-gram that is in the sequence already.</summary>
    internal static IEnumerable<int> Repeating(int[] tokens, int n)
    {
        if (n == 0) yield break;
        int last = tokens.Length - (n - 1);
        for (int i = 0; i < last; i++)
            if (tokens.AsSpan(i, n - 1).SequenceEqual(tokens.AsSpan(last))) yield return tokens[i + n - 1];
    }

    // What is added to logits by a sequence's options and by what it has said.
    private static void Shift(Tensor logits, IReadOnlyList<(Search Search, int[] Generated)> sequences)
    {
        int vocabulary = logits.Shape.Columns;
        int[] rows = [.. Enumerable.Range(0, sequences.Count).Where(s => Shifts(sequences[s].Search.Options))];
        if (rows.Length == 0) return;
        float[] added = new float[rows.Length * vocabulary];
        for (int i = 0; i < rows.Length; i++)
        {
            (Search search, int[] generated) = sequences[rows[i]];
            Span<float> own = added.AsSpan(i * vocabulary, vocabulary);
            foreach ((int token, float bias) in search.Options.LogitBias ?? GenerateOptions.NoBias) own[token] += bias;
            foreach ((int token, int times) in generated.CountBy(token => token))
                own[token] -= search.Options.PresencePenalty + times * search.Options.FrequencyPenalty;
        }
        using Tensor shifts = logits.Device.From(added, [rows.Length, vocabulary]), places = logits.Device.From(rows);
        logits.Device.ScatterAddRows(shifts, places, logits);
    }

    private static bool Shifts(GenerateOptions options) =>
        options.LogitBias is { Count: > 0 } || options.PresencePenalty != 0 || options.FrequencyPenalty != 0;

    private static (float Penalty, bool After) Penalty(GenerateOptions options) => (options.RepetitionPenalty, AfterNormalizing(options));

    private static bool SeesPrompt(GenerateOptions options) => options.BeamRules == BeamRules.HuggingFace;

    private static int[] Banned(int[] seen, GenerateOptions options, int generated, int vocabulary)
    {
        IEnumerable<int> early = generated < options.MinNewTokens ? options.StopTokens!.Where(token => token < vocabulary).Distinct() : [];
        return [.. early, .. Repeating(seen, options.NoRepeatNgram)];
    }

    /// <summary>Lists of tokens for the rows of logits, on their device; empty ones for rows that no sequence has.</summary>
    private readonly struct TokenLists : IDisposable
    {
        public TokenLists(Tensor logits, IEnumerable<IEnumerable<int>> lists)
        {
            List<int> starts = [0], ids = [];
            foreach (IEnumerable<int> list in lists)
            {
                ids.AddRange(list);
                starts.Add(ids.Count);
            }
            while (starts.Count <= logits.Shape.Rows) starts.Add(ids.Count);
            (Starts, Ids) = (logits.Device.From([.. starts]), logits.Device.From([.. ids]));
        }

        public Tensor Starts { get; }

        public Tensor Ids { get; }

        public void Dispose()
        {
            Starts.Dispose();
            Ids.Dispose();
        }
    }
}
