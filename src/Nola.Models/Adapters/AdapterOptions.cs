using System.Globalization;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of an adapter, whatever its method. What is not trained is derived from these.</summary>
public abstract record AdapterOptions
{
    /// <summary>r: the rank of what is added to a map.</summary>
    public int Rank { get; init; }

    /// <summary>Numerator of the output's scale, which is alpha / r.</summary>
    public float Alpha { get; init; }

    /// <summary>What a low-rank product is multiplied by.</summary>
    internal virtual float Scale => Alpha / Rank;

    /// <summary>Which linear maps, see <see cref="AdapterTargets"/>.</summary>
    public IReadOnlyList<string> Targets { get; init; } = AdapterTargets.Default;

    /// <summary>
    /// Whether a head of the adapter's own is trained beside it, in place of the model's: an image model's classifier, or lm_head.
    /// </summary>
    public bool TrainHead { get; init; }

    /// <summary>The method that they are settings of.</summary>
    public abstract AdapterMethod Method { get; }

    /// <summary>Bits of a trained value in its file; 0 for float32.</summary>
    internal virtual int StoredBits => 0;
}

/// <summary>
/// One option of a method: what it is called, what it means, and how it is read and written. Configuration files, the command
/// line, adapter files, resuming and experiments follow from these.
/// </summary>
/// <param name="Key">The key in configuration files and on the command line, in kebab case.</param>
/// <param name="FileKey">The key in an adapter file's metadata; null where the file does not have it.</param>
/// <param name="Help">What it does, without its default.</param>
/// <param name="Values">What may be given, for messages and help.</param>
/// <param name="Get">The value: text, a number, or a list of texts; null for another way to set other options.</param>
/// <param name="Set">The settings with another value, read from text; null when the text cannot be read.</param>
public sealed record AdapterOption(
    string Key, string? FileKey, string Help, string Values,
    Func<AdapterOptions, object?> Get, Func<AdapterOptions, string, AdapterOptions?> Set)
{
    /// <summary>What to do in place of giving it to a method that does not have it; null when it is only passed over there.</summary>
    public string? Elsewhere { get; init; }

    /// <summary>Whether files leave it out where it has its default, as files of versions before the option do.</summary>
    public bool IsOmitted { get; init; }

    /// <summary>The value as files have it.</summary>
    public string Text(AdapterOptions options) => Get(options) switch
    {
        null => "",
        IEnumerable<string> list => string.Join(',', list),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        object text => text.ToString()!,
    };

    /// <summary>The options that every method has.</summary>
    internal static IReadOnlyList<AdapterOption> Common { get; } =
    [
        Whole<AdapterOptions>(
            "rank", "rank", "r of the adapter", $"a whole number from 1 to {AdapterMethod.LargestRank}",
            o => o.Rank, (o, value) => o with { Rank = value }),
        Real<AdapterOptions>(
            "alpha", "alpha", "The adapter's output is scaled by alpha/rank",
            "a positive number", o => o.Alpha, (o, value) => o with { Alpha = value }),
        new(
            "targets", "targets",
            "Adapted maps by name pattern: q, k, v, c_attn, attn.c_proj, c_fc, mlp.c_proj, h.0.*, …; wte and lm_head by these names alone",
            "patterns, comma-separated",
            o => o.Targets, (o, text) => o with { Targets = text.Length > 0 ? text.Split(',') : [] }),
    ];

    private const string TrueOrFalse = "true or false";

    /// <summary>Whether it is a switch.</summary>
    internal bool IsFlag => Values == TrueOrFalse;

    /// <summary>Those of methods whose output is not scaled by alpha / r.</summary>
    internal static IReadOnlyList<AdapterOption> CommonWithoutAlpha { get; } = [.. Common.Where(option => option.Key != "alpha")];

    /// <summary>Those of methods without a rank.</summary>
    internal static IReadOnlyList<AdapterOption> TargetsAlone { get; } = [.. Common.Where(option => option.Key == "targets")];

    /// <summary>The option of every method; it is not there where it is off.</summary>
    internal static AdapterOption Head { get; } = new(
        "train-head", "train_head", "Train a head beside the adapter: a classifier for images, lm_head for text", TrueOrFalse,
        o => o.TrainHead ? "true" : null, (o, text) => bool.TryParse(text, out bool value) ? o with { TrainHead = value } : null)
    {
        IsOmitted = true,
    };

    internal static AdapterOption Whole<T>(
        string key, string? fileKey, string help, string values, Func<T, object?> get, Func<T, int, T> set) where T : AdapterOptions =>
        new(key, fileKey, help, values, o => get((T)o), (o, text) => StrictNumber.TryWhole(text, out int value) ? set((T)o, value) : null);

    internal static AdapterOption Seed<T>(
        string key, string? fileKey, string help, Func<T, ulong> get, Func<T, ulong, T> set) where T : AdapterOptions =>
        new(
            key, fileKey, help, "a whole number from 0", o => get((T)o),
            (o, text) => StrictNumber.TryWhole(text, out ulong value) ? set((T)o, value) : null);

    /// <summary>The seed of what a method draws, one key for all methods.</summary>
    internal static AdapterOption BasisSeed<T>(string? fileKey, Func<T, ulong> get, Func<T, ulong, T> set) where T : AdapterOptions =>
        Seed("basis-seed", fileKey, "Seed of the random bases, or of LoRA's A", get, set);

    internal static AdapterOption Real<T>(
        string key, string? fileKey, string help, string values, Func<T, float> get, Func<T, float, T> set) where T : AdapterOptions =>
        new(key, fileKey, help, values, o => get((T)o), (o, text) => StrictNumber.TryReal(text, out float value) ? set((T)o, value) : null);

    /// <summary>A switch that is off by default, and not there where it is off.</summary>
    internal static AdapterOption Flag<T>(string key, string? fileKey, string help, Func<T, bool> get, Func<T, bool, T> set)
        where T : AdapterOptions =>
        new(
            key, fileKey, help, TrueOrFalse, o => get((T)o) ? "true" : null,
            (o, text) => bool.TryParse(text, out bool value) ? set((T)o, value) : null)
        {
            IsOmitted = true,
        };

    /// <summary>One of some words, in lower case in files, in any case where people write it.</summary>
    internal static AdapterOption Choice<T, TValue>(
        string key, string? fileKey, string help, (string Name, TValue Value)[] choices,
        Func<T, TValue> get, Func<T, TValue, T> set) where T : AdapterOptions
    {
        string[] names = [.. choices.Select(choice => choice.Name)];
        string values = names.Length == 1 ? names[0] : $"{string.Join(", ", names[..^1])} or {names[^1]}";
        return new(key, fileKey, $"{help}: {values}", values, o => NameOf(get((T)o)), Read);

        string NameOf(TValue value) => choices.First(choice => EqualityComparer<TValue>.Default.Equals(choice.Value, value)).Name;

        AdapterOptions? Read(AdapterOptions o, string text)
        {
            int at = Array.FindIndex(names, name => name.Equals(text, StringComparison.OrdinalIgnoreCase));
            return at < 0 ? null : set((T)o, choices[at].Value);
        }
    }
}
