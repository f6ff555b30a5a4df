using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Keys and values of the tokens that a model has read, so that each new token costs one row. Every slot, a sequence that is
/// decoded, is a list of rows of one store. Slots that go on from the same prompt hold the same rows: reordering moves
/// lists, never keys or values.
/// </summary>
public sealed class KvCache : IDisposable
{
    private readonly LanguageModel model;
    private readonly AttentionLayout layout;
    private readonly Tensor[] keys, values;                                       // per layer (G, rows, D)
    private readonly Stack<int> free = new();
    private List<int>[] slots;
    private int[] lengths;

    // For each row, how many held lists it is in.
    private int[] holders = [];

    /// <summary>Room for <paramref name="slots"/> sequences of up to <paramref name="capacity"/> tokens.</summary>
    public KvCache(LanguageModel model, int slots, int capacity) : this(model, slots, capacity, slots * capacity)
    {
    }

    /// <summary>With a store of <paramref name="rows"/> tokens to begin with; it grows when it is full.</summary>
    internal KvCache(LanguageModel model, int slots, int capacity, int rows)
    {
        this.model = model;
        layout = model.Shape.Attention;
        Capacity = capacity;
        this.slots = [.. Enumerable.Range(0, slots).Select(_ => new List<int>())];
        lengths = new int[slots];
        keys = new Tensor[model.Shape.Layers];
        values = new Tensor[model.Shape.Layers];
        for (int l = 0; l < keys.Length; l++)
        {
            keys[l] = model.Device.Empty([layout.KeyValueHeads, rows, layout.HeadSize]);
            values[l] = model.Device.Empty(keys[l].Shape);
        }
        Release();
    }

    /// <summary>Bytes of a token's keys and values.</summary>
    internal static long BytesOfRow(LanguageShape shape) => 2L * shape.Layers * shape.Attention.KeyWidth * sizeof(float);

    /// <summary>Tokens that a slot can hold.</summary>
    public int Capacity { get; }

    /// <summary>Number of sequences.</summary>
    public int Slots => slots.Length;

    /// <summary>Tokens in each slot.</summary>
    public ReadOnlySpan<int> Lengths => lengths;

    /// <summary>Tokens that are held, each counted once however many slots share it.</summary>
    public int Rows => Store - free.Count;

    /// <summary>Tokens in held lists, each counted once.</summary>
    internal int HeldRows { get; private set; }

    /// <summary>Tokens that there is memory for; when it changes, keys and values have moved.</summary>
    internal int Store => keys[0].Shape[1];

    /// <summary>
    /// New slots: slot i holds what slot <paramref name="parents"/>[i] held, or nothing where that is −1. A slot may go on in
    /// many, and what is in no slot any more is forgotten.
    /// </summary>
    /// <exception cref="ArgumentException">There is no such slot.</exception>
    public void Reorder(ReadOnlySpan<int> parents) => Reorder(parents, _ => default);

    /// <summary>The same; a slot without a parent begins with the rows that it is given, which are in a held list.</summary>
    internal void Reorder(ReadOnlySpan<int> parents, Func<int, ReadOnlyMemory<int>> beginning)
    {
        List<int>[] next = new List<int>[parents.Length];
        bool[] taken = new bool[slots.Length];
        for (int i = 0; i < next.Length; i++)
        {
            int parent = parents[i];
            if (parent < -1 || parent >= slots.Length)
                throw new ArgumentException($"Reorder: slot {i} continues slot {parent}; there are {slots.Length}.");
            next[i] = parent < 0 ? [.. beginning(i).Span] : taken[parent] ? [.. slots[parent]] : slots[parent];
            if (parent >= 0) taken[parent] = true;
        }
        slots = next;
        lengths = [.. slots.Select(rows => rows.Count)];
        Release();
    }

    /// <summary>The rows of a slot's first tokens, kept also when no slot has them any more, until <see cref="Drop"/>.</summary>
    internal int[] Hold(int slot, int count)
    {
        int[] rows = [.. slots[slot].Take(count)];
        if (holders.Length < Store) Array.Resize(ref holders, Store);
        foreach (int row in rows)
            if (holders[row]++ == 0) HeldRows++;
        return rows;
    }

    /// <summary>
    /// Forgets a held list; its rows are free at the next <see cref="Reorder(ReadOnlySpan{int})"/> unless a slot has them.
    /// </summary>
    internal void Drop(int[] rows)
    {
        foreach (int row in rows)
            if (--holders[row] == 0) HeldRows--;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor tensor in keys) tensor.Dispose();
        foreach (Tensor tensor in values) tensor.Dispose();
    }

    /// <summary>Gives each slot rows for its new tokens; the rows of all slots, laid end to end, and where each slot's begin.</summary>
    internal (int[] Rows, int[] Starts) Extend(TokenStream stream)
    {
        for (int s = 0; s < slots.Length; s++)
            if (slots[s].Count + stream.Starts[s + 1] - stream.Starts[s] > Capacity)
                throw new ArgumentException($"Decode: slot {s} holds {slots[s].Count} tokens "
                    + $"and gets {stream.Starts[s + 1] - stream.Starts[s]} more; the cache has room for {Capacity}.");
        if (stream.Length > free.Count) Grow(stream.Length - free.Count);
        int[] rowStarts = new int[slots.Length + 1];
        for (int s = 0; s < slots.Length; s++)
        {
            for (int i = stream.Starts[s]; i < stream.Starts[s + 1]; i++) slots[s].Add(free.Pop());
            lengths[s] = slots[s].Count;
            rowStarts[s + 1] = rowStarts[s] + lengths[s];
        }
        int[] rows = new int[rowStarts[^1]];
        for (int s = 0; s < slots.Length; s++) slots[s].CopyTo(rows, rowStarts[s]);
        return (rows, rowStarts);
    }

    /// <summary>y = attention of the new tokens to everything in their slots. qkv: (N, (H + 2G)·D), y: (N, H·D).</summary>
    internal Variable Attend(int layer, Variable qkv, Tensor starts, Places places)
    {
        Variable y = qkv.Tape.New([qkv.Shape.Rows, layout.QueryWidth]);
        qkv.Tape.Device.AttentionCached(qkv.Value, starts, places.Rows, places.RowStarts, layout, keys[layer], values[layer], y.Value);
        return y;
    }

    // Every row that is in no slot and in no held list is free. The lowest come first, so that the memory in use stays small.
    private void Release()
    {
        bool[] used = new bool[Store];
        for (int row = 0; row < holders.Length; row++) used[row] = holders[row] > 0;
        foreach (List<int> rows in slots)
            foreach (int row in rows)
                used[row] = true;
        free.Clear();
        for (int row = used.Length - 1; row >= 0; row--)
            if (!used[row]) free.Push(row);
    }

    private void Grow(int missing)
    {
        int old = Store, grown = old + Math.Max(missing, old / 2), heads = layout.KeyValueHeads;
        // Row r of head h; the new ones may hold anything, so they repeat the first.
        int[] from = [.. Enumerable.Range(0, heads * grown).Select(i => i % grown < old ? i / grown * old + i % grown : 0)];
        using Tensor indices = model.Device.From(from);
        for (int l = 0; l < keys.Length; l++)
        {
            keys[l] = Larger(keys[l]);
            values[l] = Larger(values[l]);
        }
        // The smaller stores would never be taken again.
        model.Device.Pool.Trim();
        Release();

        Tensor Larger(Tensor small)
        {
            Tensor large = model.Device.Empty([heads, grown, small.Shape[2]]);
            if (old > 0) model.Device.GatherRows(small, indices, large);
            small.Dispose();
            return large;
        }
    }

    /// <summary>What <see cref="Extend"/> gave, on the device: what attention needs to know, for all layers.</summary>
    internal readonly record struct Places(Tensor Rows, Tensor RowStarts) : IDisposable
    {
        public void Dispose()
        {
            Rows.Dispose();
            RowStarts.Dispose();
        }
    }
}
