using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Nola.Train;

/// <summary>
/// The gradients of a step by shards: the sequences of its batches are dealt to a number of shards that the settings fix, each shard's
/// gradients are computed alone by one of the ranks, and every rank adds up those of all in the order of the shards. So the bits depend on
/// the number of shards, and on nothing that the ranks are.
/// </summary>
/// <remarks>
/// A shard is sent as bytes: tokens read (int64), loss (float64), for each parameter whether it has a gradient (a byte), zeros up to a
/// multiple of 16, and the gradients of all parameters, one after the other (float32).
/// </remarks>
internal sealed class ShardedStep : IDisposable
{
    private const int Alignment = 16, TokensAt = 0, LossAt = 8, MarksAt = 16;

    // Of all ranks' shards together in one exchange; what is larger goes in several.
    private const int Piece = 1 << 26;

    private readonly IModel model;
    private readonly TrainableAdapter? adapter;
    private readonly TrainOptions options;
    private readonly ICollective ranks;
    private readonly Parameter[] parameters;
    private readonly StepMeter own;
    private readonly Tensor loss;
    private readonly int header, length, slots;
    private readonly byte[][] mine;
    private readonly float[][] downloads;
    private readonly float[] sum;
    private readonly byte[] marks;
    private byte[] sent = [], gathered = [];
    private long tokens;
    private double lossSum;

    /// <summary>Prepares steps.</summary>
    /// <param name="model">What predicts.</param>
    /// <param name="adapter">What is trained; null when the model's weights are.</param>
    /// <param name="options">The number of shards, and how a batch is read.</param>
    /// <param name="ranks">Who works.</param>
    /// <exception cref="NolaException">There are more parameters than are exchanged at once.</exception>
    public ShardedStep(IModel model, TrainableAdapter? adapter, TrainOptions options, ICollective ranks)
    {
        (this.model, this.adapter, this.options, this.ranks) = (model, adapter, options, ranks);
        parameters = [.. adapter?.Parameters ?? model.Parameters];
        long values = parameters.Sum(p => (long)p.Shape.Length);
        header = (MarksAt + parameters.Length + Alignment - 1) / Alignment * Alignment;
        if (header + 4 * values > Array.MaxLength)
            throw new NolaException(
                $"shards is {options.Shards} and {values:N0} values are trained; at most {(Array.MaxLength - header) / 4:N0} are exchanged "
                + "between shards. Train an adapter, or take one shard.");
        length = header + 4 * (int)values;
        // Alone, a shard is added as soon as it is there.
        slots = (options.Shards + ranks.Size - 1) / ranks.Size;
        mine = [.. Enumerable.Range(0, ranks.Size == 1 ? 1 : slots).Select(_ => new byte[length])];
        downloads = [.. parameters.Select(p => new float[p.Shape.Length])];
        (sum, marks) = (new float[values], new byte[parameters.Length]);
        own = new StepMeter(model.Device, 1);
        loss = model.Device.Empty([]);
    }

    /// <summary>
    /// The gradient of the mean loss over all positions of some batches; it is put into the parameters, and the loss into the meter.
    /// </summary>
    /// <returns>Number of tokens that were read, by all ranks.</returns>
    public long Gradients(ITrainingSet data, IReadOnlyList<(int[] Batch, int Epoch)> batches, StepMeter meter)
    {
        int positions = batches.Sum(batch => data.Positions(batch.Batch));
        (tokens, lossSum) = (0, 0);
        Array.Clear(sum);
        Array.Clear(marks);
        for (int shard = ranks.Rank; shard < options.Shards; shard += ranks.Size)
        {
            byte[] bytes = mine[ranks.Size == 1 ? 0 : shard / ranks.Size];
            Compute(data, [.. batches.Select(batch => (Part(batch.Batch, shard, options.Shards), batch.Epoch))], positions, bytes);
            if (ranks.Size == 1) Add(bytes, 0);
        }
        if (ranks.Size > 1) Exchange();
        Put(meter);
        return tokens;
    }

    /// <summary>The sequences of a batch that are a shard's: every so-manieth, since they are sorted by length.</summary>
    public static int[] Part(int[] batch, int shard, int shards) => [.. batch.Where((_, i) => i % shards == shard)];

    /// <inheritdoc/>
    public void Dispose()
    {
        own.Dispose();
        loss.Dispose();
    }

    private void Compute(ITrainingSet data, IReadOnlyList<(int[] Batch, int Epoch)> parts, int positions, byte[] bytes)
    {
        Array.Clear(bytes);
        List<TokenStream> streams =
            [.. parts.Where(part => part.Batch.Length > 0).Select(part => data.Stream(part.Batch, part.Epoch).With(adapter))];
        if (streams.All(stream => stream.Targets.Length == 0)) return;
        long read = TrainStep.Gradients(new(model, null, streams, options, own) { Positions = positions });
        // Unlike what a trainer does alone, this can be done for one shard after the other.
        if (adapter is not null) TrainableAdapter.CollectTogether([adapter]);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(TokensAt), read);
        BinaryPrimitives.WriteDoubleLittleEndian(bytes.AsSpan(LossAt), own.TakeLoss());
        Download(bytes);
    }

    // All of them with one wait for the device.
    private void Download(byte[] bytes)
    {
        List<(Tensor, Array)> copies = [];
        for (int i = 0; i < parameters.Length; i++)
        {
            if (!parameters[i].HasGradient) continue;
            copies.Add((parameters[i].Gradient, downloads[i]));
            bytes[MarksAt + i] = 1;
        }
        model.Device.DownloadAll([.. copies]);
        int at = header;
        for (int i = 0; i < parameters.Length; i++)
        {
            Span<byte> place = bytes.AsSpan(at, 4 * downloads[i].Length);
            if (bytes[MarksAt + i] == 1) MemoryMarshal.AsBytes<float>(downloads[i]).CopyTo(place);
            at += place.Length;
            parameters[i].ClearGradient();
        }
    }

    private void Exchange()
    {
        int most = Math.Max(header, Piece / (slots * ranks.Size) / Alignment * Alignment), largest = Math.Min(most, length);
        if (sent.Length == 0) (sent, gathered) = (new byte[slots * largest], new byte[slots * largest * ranks.Size]);
        for (int start = 0; start < length; start += most)
        {
            int count = Math.Min(most, length - start);
            for (int slot = 0; slot < slots; slot++) mine[slot].AsSpan(start, count).CopyTo(sent.AsSpan(slot * count));
            ranks.AllGather(sent.AsSpan(0, slots * count), gathered.AsSpan(0, slots * count * ranks.Size));
            for (int shard = 0; shard < options.Shards; shard++)
                Add(gathered.AsSpan((shard % ranks.Size * slots + shard / ranks.Size) * count, count), start);
        }
    }

    // Adds a shard's bytes from a place on.
    private void Add(ReadOnlySpan<byte> bytes, int start)
    {
        int first = 0;
        if (start == 0)
        {
            tokens += BinaryPrimitives.ReadInt64LittleEndian(bytes[TokensAt..]);
            lossSum += BinaryPrimitives.ReadDoubleLittleEndian(bytes[LossAt..]);
            for (int i = 0; i < marks.Length; i++) marks[i] |= bytes[MarksAt + i];
            first = header;
        }
        ReadOnlySpan<float> values = MemoryMarshal.Cast<byte, float>(bytes[first..]);
        Span<float> place = sum.AsSpan((start + first - header) / 4, values.Length);
        TensorPrimitives.Add(place, values, place);
    }

    private void Put(StepMeter meter)
    {
        int at = 0;
        for (int i = 0; i < parameters.Length; i++)
        {
            if (marks[i] == 1) parameters[i].PutGradient(sum.AsSpan(at, parameters[i].Shape.Length));
            at += parameters[i].Shape.Length;
        }
        model.Device.Upload([(float)lossSum], loss);
        meter.Add(loss);
    }
}
