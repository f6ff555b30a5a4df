using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>What a trainer cannot see of where its run comes from.</summary>
public sealed record RunSource
{
    /// <summary>What the training data are called, for messages; the sequences themselves are compared.</summary>
    public string Data { get; init; } = "data without a name";

    /// <summary>What the validation data are called, for messages.</summary>
    public string Valid { get; init; } = "none";

    /// <summary>Further settings that shape the run, by key; a run is only resumed with the same.</summary>
    public IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();
}

/// <summary>
/// Everything that shapes a run, as text by key: base model, adapter, data and settings. Two runs with equal items give equal
/// bits on one kind of device. How far a run goes (its steps and epochs) is not among them, since a run can be continued.
/// </summary>
internal sealed class RunIdentity
{
    // What a file of a run says beside an item that is a digest, so that a difference can be told in names.
    private const string NameOf = "name of ";

    // Items of a digest are shown with so many of its characters.
    private const int Shown = 8;

    private readonly SortedDictionary<string, string> items = new(StringComparer.Ordinal);

    private RunIdentity() { }

    /// <summary>Key and value, in the order of the keys.</summary>
    public IReadOnlyDictionary<string, string> Items => items;

    /// <summary>The identity of a run.</summary>
    /// <param name="model">The base.</param>
    /// <param name="adapter">What is trained on it; null for the whole model.</param>
    /// <param name="options">Settings of the loop.</param>
    /// <param name="training">A digest of what is learned.</param>
    /// <param name="validation">A digest of what is evaluated on, before a sample is taken.</param>
    /// <param name="source">Where model, adapter and data come from.</param>
    public static RunIdentity Of(
        IModel model, Adapter? adapter, TrainOptions options, string training, string validation, RunSource source)
    {
        RunIdentity identity = new();
        identity.Add("model", model.Identity, model.Source);
        // Of a model whose every weight is trained nothing is frozen.
        LinearMap? frozen = model.AdaptableMaps.Select(map => map.Host).OfType<LinearMap>().FirstOrDefault();
        identity.items["storage"] = (frozen?.Frozen?.Format ?? WeightFormat.Float32).Name();
        identity.AddAdapter(adapter);
        identity.Add("data", training, source.Data);
        identity.Add("valid", validation, source.Valid);
        identity.AddOptions(options);
        foreach ((string key, string value) in source.Settings) identity.items[key] = value;
        return identity;
    }

    /// <summary>A digest of what decides: equal for runs that <see cref="DifferencesTo"/> finds no difference between.</summary>
    public string Digest() => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(
        JsonSerializer.Serialize(items.Where(item => !item.Key.StartsWith(NameOf, StringComparison.Ordinal)), JsonForms.Plain))));

    /// <summary>All items, to be sent to another process.</summary>
    public string ToText() => JsonSerializer.Serialize(items, JsonForms.Plain);

    /// <summary>What <see cref="ToText"/> gave.</summary>
    public static RunIdentity FromText(string text) => From(JsonSerializer.Deserialize<Dictionary<string, string>>(text, JsonForms.Plain)!);

    /// <summary>What <see cref="Items"/> were, from a file.</summary>
    public static RunIdentity From(IEnumerable<KeyValuePair<string, string>> items)
    {
        RunIdentity identity = new();
        foreach ((string key, string value) in items) identity.items[key] = value;
        return identity;
    }

    /// <summary>Each difference in words, <c>basis-seed was 42, is 777</c>; empty when the runs are the same.</summary>
    public IReadOnlyList<string> DifferencesTo(RunIdentity now) =>
    [
        .. items.Keys.Union(now.items.Keys)
            .Where(key => !key.StartsWith(NameOf, StringComparison.Ordinal))
            .Where(key => items.GetValueOrDefault(key) != now.items.GetValueOrDefault(key))
            .OrderBy(key => Weight(key, now))
            .Select(key => $"{key} was {Show(key)}, is {now.Show(key)}"),
    ];

    // The difference that explains others comes first, and last what only follows from another setting.
    private int Weight(string key, RunIdentity now) =>
        key is "method" or "model" or "data" ? 0
        : key.Contains("of the bases", StringComparison.Ordinal) ? 3
        : items.ContainsKey(key) && now.items.ContainsKey(key) ? 1
        : 2;

    private string Show(string key)
    {
        if (!items.TryGetValue(key, out string? value)) return "not set";
        if (!items.TryGetValue(NameOf + key, out string? name)) return value.Length == 0 ? "empty" : NolaException.OneLine(value, 60);
        return $"{NolaException.OneLine(name, 60)} (digest {(value.Length > Shown ? value[..Shown] : value)})";
    }

    private void Add(string key, string digest, string name) => (items[key], items[NameOf + key]) = (digest, name);

    private void AddAdapter(Adapter? adapter)
    {
        items["method"] = adapter?.Options.Method.Name ?? TrainConfig.Full;
        if (adapter is null) return;
        AdapterMethod method = adapter.Options.Method;
        foreach (AdapterOption option in method.Options)
            if (option.Get(adapter.Options) is not null) items[option.Key] = option.Text(adapter.Options);
        foreach (MapGroup group in adapter.Groups) items["layers." + group.Kind] = string.Join(',', group.Layers);
        if (method.Generator is { } generator) items["generator of the bases"] = generator;
        if (method.Fingerprint(adapter.Options, adapter.Groups) is { } fingerprint) items["fingerprint of the bases"] = fingerprint;
    }

    private void AddOptions(TrainOptions o)
    {
        items["batch-tokens"] = Text($"{o.BatchTokens}");
        items["batch-size"] = Text($"{o.BatchSize}");
        items["accumulation"] = Text($"{o.Accumulation}");
        // Runs of versions before it do not have it.
        if (o.Shards > 1) items["shards"] = Text($"{o.Shards}");
        items["lr"] = Text($"{o.LearningRate}");
        // Runs of versions before it do not have it.
        if (o.HeadLearningRate > 0) items["head-lr"] = Text($"{o.HeadLearningRate}");
        items["schedule"] = Text($"{o.Schedule}").ToLowerInvariant();
        items["warmup"] = Text($"{o.WarmupSteps}");
        items["weight-decay"] = Text($"{o.WeightDecay}");
        items["beta1"] = Text($"{o.Beta1}");
        items["beta2"] = Text($"{o.Beta2}");
        items["epsilon"] = Text($"{o.Epsilon}");
        items["clip"] = Text($"{o.ClipNorm}");
        items["label-smoothing"] = Text($"{o.LabelSmoothing}");
        items["seed"] = Text($"{o.Seed}");
        items["eval-every"] = Text($"{o.EvalEvery}");
        items["eval-pairs"] = Text($"{o.EvalPairs}");
        items["patience"] = Text($"{o.Patience}");
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    /// <summary>
    /// SHA-256 over the lengths and the token ids of every sequence, and where there are parts that are not learned, their places;
    /// little-endian.
    /// </summary>
    public static string Digest(EncodedPair[] pairs)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> lengths = stackalloc byte[8];
        foreach (EncodedPair pair in pairs)
        {
            BinaryPrimitives.WriteInt32LittleEndian(lengths, pair.Context.Length);
            BinaryPrimitives.WriteInt32LittleEndian(lengths[4..], pair.Completion.Length);
            hash.AppendData(lengths);
            hash.AppendData(MemoryMarshal.AsBytes<int>(pair.Context));
            hash.AppendData(MemoryMarshal.AsBytes<int>(pair.Completion));
            if (pair.Skipped is not { } parts) continue;
            int[] places = [.. parts.SelectMany(part => (int[])[part.Start, part.End])];
            hash.AppendData(MemoryMarshal.AsBytes<int>(places));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
