using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Keys and values of the tokens that a model has read, so that each new token costs one row. Preallocated; one slot
/// for each sequence that is decoded at the same time.
/// </summary>
public sealed class KvCache : IDisposable
{
    private readonly Tensor[] keys, values;                                       // per layer (slots, H, capacity, D)
    private readonly int[] lengths;

    /// <summary>Room for <paramref name="slots"/> sequences of up to <paramref name="capacity"/> tokens.</summary>
    public KvCache(Gpt2 model, int slots, int capacity)
    {
        Gpt2Config config = model.Config;
        Capacity = capacity;
        lengths = new int[slots];
        keys = new Tensor[config.Layers];
        values = new Tensor[config.Layers];
        for (int l = 0; l < config.Layers; l++)
        {
            keys[l] = model.Device.Empty([slots, config.Heads, capacity, config.Channels / config.Heads]);
            values[l] = model.Device.Empty(keys[l].Shape);
        }
    }

    /// <summary>Tokens that a slot can hold.</summary>
    public int Capacity { get; }

    /// <summary>Number of sequences.</summary>
    public int Slots => lengths.Length;

    /// <summary>Tokens in each slot.</summary>
    public ReadOnlySpan<int> Lengths => lengths;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor tensor in keys) tensor.Dispose();
        foreach (Tensor tensor in values) tensor.Dispose();
    }

    internal void Advance(ReadOnlySpan<int> starts)
    {
        for (int s = 0; s < lengths.Length; s++) lengths[s] += starts[s + 1] - starts[s];
    }

    // y = attention of the new rows to everything in their slots. Sequence s of the stream is slot s.
    internal Variable Attend(int layer, Variable qkv, Tensor starts, Tensor slots, Tensor past)
    {
        Variable y = qkv.Tape.New([qkv.Shape.Rows, qkv.Shape.Columns / 3]);
        qkv.Tape.Device.AttentionCached(qkv.Value, starts, slots, past, keys[layer], values[layer], y.Value);
        return y;
    }
}
