using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Some of a batch's rows, in their order.</summary>
public enum StreamRows
{
    /// <summary>One for each token. (N)</summary>
    Tokens,

    /// <summary>Those whose loss counts. (P)</summary>
    LossPositions,

    /// <summary>The last one of each sequence. (S)</summary>
    Ends,

    /// <summary>One for each patch of an image. (S · P)</summary>
    Patches,
}

/// <summary>A <see cref="TokenStream"/> on a device, with the position number of each token. Dispose it after the step.</summary>
public sealed class StreamTensors : IDisposable
{
    // Neighboring sequences with one adapter, as rows of each kind; −1 for all rows.
    private readonly (IAdapter By, int First, int Count)[][] segments;
    private readonly Tensor[] prefixRows = [];

    /// <summary>Copies the stream to the device.</summary>
    /// <param name="device">Where the model is.</param>
    /// <param name="stream">The batch.</param>
    /// <param name="past">For decoding: how many tokens each sequence has in the cache already. (S)</param>
    /// <exception cref="ArgumentException">The stream names adapters, but not one for each sequence.</exception>
    public StreamTensors(Device device, TokenStream stream, ReadOnlySpan<int> past = default)
    {
        segments = Array.ConvertAll(Enum.GetValues<StreamRows>(), rows => Segments(stream, rows));
        int[] positions = new int[stream.Length];
        for (int s = 0; s < stream.Sequences; s++)
            for (int i = stream.Starts[s]; i < stream.Starts[s + 1]; i++)
                positions[i] = i - stream.Starts[s] + (past.IsEmpty ? 0 : past[s]);
        Ids = device.From(stream.Ids);
        Positions = device.From(positions);
        Starts = device.From(stream.Starts);
        LossPositions = device.From(stream.LossPositions);
        Targets = device.From(stream.Targets);
        if (stream.Patches is not { } patches) return;
        Patches = device.From(patches.Values, [patches.Values.Length / patches.Columns, patches.Columns]);
        prefixRows = [.. Enumerable.Range(0, patches.Prefix).Select(i => device.From([.. stream.Starts[..^1].Select(start => start + i)]))];
    }

    /// <summary>Room for one token of each of so many sequences, all with one adapter or with none.</summary>
    internal StreamTensors(Device device, int sequences, IAdapter? adapter)
    {
        (IAdapter, int, int)[] all = adapter is null ? [] : [(adapter, 0, -1)];
        segments = Array.ConvertAll(Enum.GetValues<StreamRows>(), _ => all);
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

    /// <summary>Pixels of the patches of images; null for text. (S · P, columns)</summary>
    public Tensor? Patches { get; }

    /// <summary>Number of sequences, S.</summary>
    public int Sequences => Starts.Length - 1;

    /// <summary>The row of each image's class token, or of the token behind it. (S)</summary>
    /// <param name="token">0 for the class token.</param>
    public Tensor PrefixRows(int token) => prefixRows[token];

    /// <summary>What the adapters of the batch's sequences add to a layer, each to its own rows.</summary>
    /// <param name="layer">One of the model's layers.</param>
    /// <param name="tape">The step.</param>
    /// <param name="rows">Which rows the layer reads.</param>
    public DeltaRows[] On(AdaptableLayer layer, Tape tape, StreamRows rows = StreamRows.Tokens)
    {
        List<DeltaRows> deltas = [];
        foreach ((IAdapter adapter, int first, int count) in segments[(int)rows])
            foreach (Delta delta in adapter.On(layer, tape))
                deltas.Add(new DeltaRows(delta, first, count));
        return [.. deltas];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Ids.Dispose();
        Positions.Dispose();
        Starts.Dispose();
        LossPositions.Dispose();
        Targets.Dispose();
        Patches?.Dispose();
        foreach (Tensor rows in prefixRows) rows.Dispose();
    }

    private static (IAdapter, int, int)[] Segments(TokenStream stream, StreamRows rows)
    {
        IReadOnlyList<IAdapter?> adapters = stream.Adapters;
        if (adapters.Count == 0) return [];
        if (adapters.Count != stream.Sequences)
            throw new ArgumentException(
                $"StreamTensors: the stream has {stream.Sequences} sequences and {adapters.Count} adapters; "
                + "expected one for each sequence, null where it has none.");
        if (adapters[0] is { } only && adapters.All(adapter => adapter == only)) return [(only, 0, -1)];
        List<(IAdapter, int, int)> segments = [];
        for (int s = 0, end; s < adapters.Count; s = end)
        {
            for (end = s + 1; end < adapters.Count && adapters[end] == adapters[s];) end++;
            (int first, int count) = (RowOf(s), RowOf(end) - RowOf(s));
            if (count > 0 && adapters[s] is { } adapter) segments.Add((adapter, first, count));
        }
        return [.. segments];

        // How many of the rows are of the sequences before one.
        int RowOf(int sequence) => rows switch
        {
            StreamRows.Tokens => stream.Starts[sequence],
            StreamRows.Patches => stream.Starts[sequence] - (stream.Patches?.Prefix ?? 0) * sequence,
            StreamRows.LossPositions => Before(stream.LossPositions, stream.Starts[sequence]),
            _ => sequence,
        };
    }

    // How many of ascending numbers are below a limit.
    private static int Before(int[] ascending, int limit)
    {
        int at = Array.BinarySearch(ascending, limit);
        return at < 0 ? ~at : at;
    }
}
