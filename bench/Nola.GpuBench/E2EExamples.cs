using System.Text.Json;
using Nola.Models;
using Nola.Train;

namespace Nola.GpuBench;

/// <summary>
/// The E2E training examples that steps are timed on: as many as a stream of so many tokens holds, in a shuffled order that
/// is the same everywhere. NAME-e2e.json gives the same ones to the peer.
/// </summary>
/// <param name="Pairs">The examples, in order.</param>
internal sealed record E2EExamples(EncodedPair[] Pairs)
{
    private const int Seed = 1;

    // More than the largest stream holds, and one window of the library's batches.
    private const int Read = 1024;

    /// <summary>All of them in one stream, laid end to end, with the loss on the completions.</summary>
    public TokenStream Stream => TokenStreams.FromPairs(Pairs);

    /// <summary>The first examples that together have no more than <paramref name="tokens"/>.</summary>
    public static E2EExamples Of(int tokens)
    {
        TextPair[] pairs = [.. EmbeddedData.E2E("train")];
        new Random(Seed).Shuffle(pairs);
        PairEncoder encoder = new(Gpt2Tokenizer.Default, 1024, Gpt2Tokenizer.GptVocabulary);
        EncodedPair[] encoded = encoder.Encode(pairs[..Read]);
        // In the given order, so the first batch is the first examples.
        int count = new Batches(encoded, tokens, 0, 0, shuffle: false).Epoch(0)[0].Length;
        return new(encoded[..count]);
    }

    /// <summary>For each example its ids, and the first position whose next token is predicted; the last token is only predicted.</summary>
    public string ToJson() => JsonSerializer.Serialize(new
    {
        seed = Seed,
        examples = Pairs.Select(p => new { ids = (int[])[.. p.Context, .. p.Completion], first = Math.Max(p.Context.Length, 1) - 1 }),
    }) + "\n";
}
