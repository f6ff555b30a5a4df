using Nola.Tensors;

namespace Nola.Models;

/// <summary>A <see cref="TokenStream"/> on a device, with the position number of each token. Dispose it after the step.</summary>
public sealed class StreamTensors : IDisposable
{
    /// <summary>Copies the stream to the device.</summary>
    /// <param name="device">Where the model is.</param>
    /// <param name="stream">The batch.</param>
    /// <param name="past">For decoding: how many tokens each sequence has in the cache already. (S)</param>
    public StreamTensors(Device device, TokenStream stream, ReadOnlySpan<int> past = default)
    {
        int[] positions = new int[stream.Length];
        for (int s = 0; s < stream.Sequences; s++)
            for (int i = stream.Starts[s]; i < stream.Starts[s + 1]; i++)
                positions[i] = i - stream.Starts[s] + (past.IsEmpty ? 0 : past[s]);
        Ids = device.From(stream.Ids);
        Positions = device.From(positions);
        Starts = device.From(stream.Starts);
        LossPositions = device.From(stream.LossPositions);
        Targets = device.From(stream.Targets);
    }

    /// <summary>Room for one token of each of so many sequences.</summary>
    internal StreamTensors(Device device, int sequences)
    {
        Ids = device.Empty([sequences], DType.Int32);
        Positions = device.Empty([sequences], DType.Int32);
        Starts = device.Empty([sequences + 1], DType.Int32);
        LossPositions = device.Empty([0], DType.Int32);
        Targets = device.Empty([0], DType.Int32);
    }

    /// <summary>Token ids. (N)</summary>
    public Tensor Ids { get; }

    /// <summary>Position of each token in its sequence. (N)</summary>
    public Tensor Positions { get; }

    /// <summary>Where each sequence starts, then N. (S + 1)</summary>
    public Tensor Starts { get; }

    /// <summary>Rows whose loss counts. (P)</summary>
    public Tensor LossPositions { get; }

    /// <summary>The token to be predicted at each. (P)</summary>
    public Tensor Targets { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Ids.Dispose();
        Positions.Dispose();
        Starts.Dispose();
        LossPositions.Dispose();
        Targets.Dispose();
    }
}
