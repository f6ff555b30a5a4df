using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>A model's pass over new tokens whose past is in a cache.</summary>
internal static class CachedForward
{
    /// <summary>
    /// Reads new tokens of each of the cache's sequences and returns the logits after each sequence's last one. (S, V)
    /// </summary>
    /// <exception cref="ArgumentException">The stream does not fit the cache.</exception>
    /// <exception cref="NolaException">A sequence is longer than the model reads.</exception>
    public static float[] Decode(this LanguageModel model, TokenStream stream, KvCache cache)
    {
        using Tape tape = new(model.Device, record: false);
        return model.Decode(tape, stream, cache, out _).ToArray();
    }

    /// <summary>
    /// As above, left on the device for as long as the tape; and the logits at the stream's loss positions (P, V), null where it has
    /// none.
    /// </summary>
    internal static Tensor Decode(this LanguageModel model, Tape tape, TokenStream stream, KvCache cache, out Tensor? scored)
    {
        model.CheckDecode(stream, cache);
        int[] past = cache.Lengths.ToArray(), last = [.. stream.Starts.Skip(1).Select(end => end - 1)];
        (int[] lists, int[] listStarts) = cache.Extend(stream);
        using KvCache.Places places = new(model.Device.From(lists), model.Device.From(listStarts));
        using StreamTensors batch = new(model.Device, stream, past);
        using Tensor ends = model.Device.From(last);
        Variable x = Hidden(model, tape, batch, cache, places);                           // (N, C)
        scored = stream.LossPositions.Length > 0 ? Logits(batch.LossPositions, StreamRows.LossPositions) : null;
        return Logits(ends, StreamRows.Ends);

        Tensor Logits(Tensor rows, StreamRows kind)
        {
            Variable logits = tape.New([rows.Length, model.Shape.Vocabulary]);
            model.Head(Ops.GatherRows(x, rows), batch, kind, logits.Value);
            return logits.Value;
        }
    }

    /// <summary>Reads one new token of each sequence, all of it from tensors, and writes the logits after them. logits: (N, V).</summary>
    internal static void Decode(this LanguageModel model, StreamTensors batch, KvCache cache, KvCache.Places places, Tensor logits)
    {
        using Tape tape = new(model.Device, record: false);
        model.Head(Hidden(model, tape, batch, cache, places), batch, StreamRows.Tokens, logits);
    }

    /// <summary>Refuses a stream that does not fit a cache.</summary>
    internal static void CheckDecode(this LanguageModel model, TokenStream stream, KvCache cache)
    {
        if (stream.Sequences != cache.Slots)
            throw new ArgumentException(
                $"Decode: the stream has {stream.Sequences} sequences and the cache {cache.Slots} slots; expected one for each.");
        for (int s = 0; s < stream.Sequences; s++) model.CheckLength(cache.Lengths[s] + stream.Starts[s + 1] - stream.Starts[s]);
    }

    private static Variable Hidden(LanguageModel model, Tape tape, StreamTensors batch, KvCache cache, KvCache.Places places) =>
        model.Hidden(tape, batch, (layer, qkv) => cache.Attend(layer, qkv, batch.Starts, places));
}
