using Nola.Tensors;

namespace Nola.Models;

/// <summary>What the options say of single tokens: no n-gram twice, no stop token too early, a penalty for repetition.</summary>
internal sealed class TokenRules
{
    private readonly GenerateOptions options;
    private readonly int[] stops;

    public TokenRules(GenerateOptions options, int vocabulary)
    {
        this.options = options;
        stops = [.. options.StopTokens.Where(token => token < vocabulary).Distinct()];
    }

    /// <summary>Whether log-probabilities are changed, which do not sum to one any more, or logits, which are normalised then.</summary>
    public bool AfterNormalising => options.BeamRules == BeamRules.HuggingFace && options.Beams > 1;

    private bool SeesPrompt => options.BeamRules == BeamRules.HuggingFace;

    /// <summary>Changes the logits of each row.</summary>
    /// <param name="logits">(S or more, V)</param>
    /// <param name="sequences">What each row continues.</param>
    /// <param name="normalisers">Log of the sum of exponentials of each row, where that has been computed already. (S)</param>
    public void Apply(Tensor logits, IReadOnlyList<(int[] Prompt, int[] Generated)> sequences, Tensor normalisers)
    {
        int[][] seen = [.. sequences.Select(s => SeesPrompt ? (int[])[.. s.Prompt, .. s.Generated] : s.Generated)];
        if (options.RepetitionPenalty != 1)
        {
            using TokenLists lists = new(logits, seen.Select(tokens => tokens.Distinct()));
            logits.Device.Penalise(logits, lists.Starts, lists.Ids, options.RepetitionPenalty, AfterNormalising ? normalisers : null);
        }
        int[][] banned = [.. seen.Select((tokens, s) => (int[])[.. sequences[s].Generated.Length < options.MinNewTokens ? stops : [], .. Repeating(tokens, options.NoRepeatNgram)])];
        if (banned.All(tokens => tokens.Length == 0)) return;
        using TokenLists bans = new(logits, banned);
        logits.Device.Ban(logits, bans.Starts, bans.Ids);
    }

    /// <summary>The tokens that would complete an n-gram that stands in the sequence already.</summary>
    internal static IEnumerable<int> Repeating(int[] tokens, int n)
    {
        if (n == 0) yield break;
        int last = tokens.Length - (n - 1);
        for (int i = 0; i < last; i++)
            if (tokens.AsSpan(i, n - 1).SequenceEqual(tokens.AsSpan(last))) yield return tokens[i + n - 1];
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
