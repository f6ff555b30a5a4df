namespace Nola.Models;

/// <summary>Builds token streams.</summary>
public static class TokenStreams
{
    /// <summary>
    /// One sequence for each pair: context then completion, without the last token, whose prediction nobody reads.
    /// The loss counts where the next token is the completion's: positions context − 1 … length − 2. A pair without
    /// context predicts from its second token on, and parts that are skipped (<see cref="EncodedPair.Skipped"/>) are only read.
    /// </summary>
    public static TokenStream FromPairs(IEnumerable<EncodedPair> pairs)
    {
        List<int> ids = [], starts = [0], positions = [], targets = [];
        foreach (EncodedPair pair in pairs)
        {
            int start = ids.Count;
            ids.AddRange(pair.Context);
            ids.AddRange(pair.Completion.AsSpan(0, Math.Max(0, pair.Completion.Length - 1)));
            for (int i = Math.Max(pair.Context.Length, 1); i < pair.Length; i++)
            {
                int place = i - pair.Context.Length;
                if (pair.Skipped?.Any(part => part.Start <= place && place < part.End) == true) continue;
                positions.Add(start + i - 1);
                targets.Add(pair.Completion[place]);
            }
            starts.Add(ids.Count);
        }
        return new TokenStream([.. ids], [.. starts], [.. positions], [.. targets]);
    }

    /// <summary>Streams laid end to end, each sequence with its adapter.</summary>
    internal static TokenStream Join(IEnumerable<TokenStream> streams)
    {
        List<int> ids = [], starts = [0], positions = [], targets = [];
        List<IAdapter?> adapters = [];
        foreach (TokenStream stream in streams)
        {
            int start = ids.Count;
            ids.AddRange(stream.Ids);
            starts.AddRange(stream.Starts.Skip(1).Select(end => end + start));
            positions.AddRange(stream.LossPositions.Select(position => position + start));
            targets.AddRange(stream.Targets);
            adapters.AddRange(stream.Adapters.Count > 0 ? stream.Adapters : new IAdapter?[stream.Sequences]);
        }
        return new TokenStream([.. ids], [.. starts], [.. positions], [.. targets]) { Adapters = adapters };
    }

    /// <summary>One sequence without loss, for reading.</summary>
    public static TokenStream Single(ReadOnlySpan<int> ids) => new(ids.ToArray(), [0, ids.Length], [], []);
}
