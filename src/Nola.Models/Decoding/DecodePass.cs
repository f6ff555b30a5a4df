using System.Numerics;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The pass of a model for one more token of every sequence, in a few shapes that come again, so that a GPU can replay what it
/// queued for the last token: what changes from token to token (ids, positions, lists of cache rows) is read from tensors that
/// stay where they are. Sequences and lists are padded to the next shape; what is padded belongs to no sequence.
/// </summary>
internal sealed class DecodePass(LanguageModel model, KvCache cache) : IDisposable
{
    // With more sequences than this, a pass takes longer than queueing it.
    private const int MostSequences = 128;

    // Shapes that are kept. Sequences end and lists grow, so that a run goes through its shapes once.
    private const int Kept = 8;

    private readonly List<Bucket> buckets = [];
    private int store = -1;

    /// <summary>
    /// Whether a step is one new token of each of a few sequences with the same adapter, on a device to which small calls are a
    /// burden.
    /// </summary>
    public bool Fits(TokenStream stream) =>
        model.Device.IsQueued && stream.Length == stream.Sequences && stream.Sequences is > 0 and <= MostSequences
        && stream.LossPositions.Length == 0 && stream.Adapters.All(adapter => adapter == stream.Adapters[0]);

    /// <summary>
    /// Reads the tokens. The logits, of rows for each sequence and padding after them, are this object's until the next call.
    /// (S or more, V)
    /// </summary>
    public Tensor Run(TokenStream stream)
    {
        model.CheckDecode(stream, cache);
        int[] past = cache.Lengths.ToArray();
        (int[] rows, int[] rowStarts) = cache.Extend(stream);
        // Keys and values have moved, and whatever was recorded writes to where they were.
        if (cache.Store != store) Dispose();
        store = cache.Store;
        Bucket bucket = Take(SequencesOf(stream.Sequences), RowsOf(rows.Length), stream.Adapters.Count > 0 ? stream.Adapters[0] : null);
        bucket.Fill(stream, past, rows, rowStarts);
        bucket.Replay.Run(() => model.Decode(bucket.Batch, cache, bucket.Places, bucket.Logits));
        return bucket.Logits;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Bucket bucket in buckets) bucket.Dispose();
        buckets.Clear();
    }

    /// <summary>Sequences are padded to a power of two up to 16, then to a multiple of 16, which is a tile of the products.</summary>
    internal static int SequencesOf(int count) => count <= 16 ? (int)BitOperations.RoundUpToPowerOf2((uint)count) : (count + 15) / 16 * 16;

    /// <summary>Lists of cache rows are padded to a power of two, from 256 on.</summary>
    internal static int RowsOf(int count) => (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(256, count));

    // The latest stands last.
    private Bucket Take(int sequences, int rows, IAdapter? adapter)
    {
        int at = buckets.FindIndex(b => b.Sequences == sequences && b.Rows == rows && b.Adapter == adapter);
        Bucket bucket = at < 0 ? new(model, sequences, rows, adapter) : buckets[at];
        if (at >= 0) buckets.RemoveAt(at);
        buckets.Add(bucket);
        if (buckets.Count <= Kept) return bucket;
        buckets[0].Dispose();
        buckets.RemoveAt(0);
        return bucket;
    }

    /// <summary>One shape: the tensors that its pass reads and writes.</summary>
    private sealed class Bucket(LanguageModel model, int sequences, int rows, IAdapter? adapter) : IDisposable
    {
        public int Sequences => sequences;

        public int Rows => rows;

        public IAdapter? Adapter => adapter;

        public StreamTensors Batch { get; } = new(model.Device, sequences, adapter);

        public KvCache.Places Places { get; } = new(
            model.Device.Empty([rows], DType.Int32), model.Device.Empty([sequences + 1], DType.Int32));

        public Tensor Logits { get; } = model.Device.Empty([sequences, model.Shape.Vocabulary]);

        public Replay Replay { get; } = model.Device.NewReplay();

        // Tokens after the last sequence's are token 0 at position 0, of no sequence; list entries after the last are row 0.
        public void Fill(TokenStream stream, int[] past, int[] lists, int[] listStarts)
        {
            Device device = model.Device;
            device.Upload(Padded(stream.Ids, sequences, 0), Batch.Ids);
            device.Upload(Padded(past, sequences, 0), Batch.Positions);
            device.Upload(Padded(stream.Starts, sequences + 1, stream.Length), Batch.Starts);
            device.Upload(Padded(lists, rows, 0), Places.Rows);
            device.Upload(Padded(listStarts, sequences + 1, lists.Length), Places.RowStarts);
        }

        public void Dispose()
        {
            Replay.Dispose();
            Batch.Dispose();
            Places.Dispose();
            Logits.Dispose();
        }

        private static int[] Padded(int[] values, int length, int filler) =>
            [.. values, .. Enumerable.Repeat(filler, length - values.Length)];
    }
}
