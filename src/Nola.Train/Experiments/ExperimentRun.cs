using System.Security.Cryptography;
using System.Text;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>One method with one seed.</summary>
/// <param name="Method">What is done.</param>
/// <param name="Seed">Seed of the shuffle and the bases; null for the base model.</param>
/// <param name="Config">Everything that training needs; for a base or rounded run, what model and data are taken from.</param>
/// <param name="Id">Digest of everything that decides what the run gives: 8 hexadecimal digits.</param>
/// <param name="Folder">Where it keeps its files.</param>
/// <param name="Source">The run whose adapter is rounded.</param>
internal sealed record ExperimentRun(
    ExperimentMethod Method, ulong? Seed, TrainConfig Config, string Id, string Folder, ExperimentRun? Source)
{
    /// <summary>The result, once there is one.</summary>
    public string ResultFile => Path.Combine(Folder, "result.json");

    /// <summary>Seed of the choice of few images; null where there is none of its own.</summary>
    public ulong? Sample { get; init; }

    /// <summary>Method and seed.</summary>
    public string Title => Seed is { } seed
        ? $"{Method.Name}, seed {seed}{(Sample is { } sample ? $", sample {sample}" : "")}"
        : Method.Name;

    /// <summary>
    /// All runs of an experiment: every method with the first seed,
    /// then with the second, so that what is done early can be compared.
    /// </summary>
    /// <param name="file">The experiment.</param>
    /// <param name="root">Directory of all runs.</param>
    /// <param name="device">Name of the device.</param>
    /// <param name="threads">Threads of the CPU.</param>
    /// <exception cref="NolaException">A setting of a method is out of its range; nothing has run then.</exception>
    public static IReadOnlyList<ExperimentRun> Plan(ExperimentFile file, string root, string device, int threads)
    {
        List<ExperimentRun> runs = [];
        IReadOnlyList<ulong?> samples = file.Samples.Count > 0 ? [.. file.Samples.Select(sample => (ulong?)sample)] : [null];
        foreach (ulong seed in file.Seeds)
            foreach (ulong? sample in samples)
                foreach (ExperimentMethod method in file.Methods)
                {
                    bool once = method.Kind == ExperimentKind.Base;
                    if (once && seed != file.Seeds[0]) continue;
                    runs.Add(Create(method, once ? null : seed, sample, root, device, threads, runs));
                }
        return runs;
    }

    private static ExperimentRun Create(
        ExperimentMethod method, ulong? seed, ulong? sample, string root, string device, int threads, List<ExperimentRun> before)
    {
        Settings settings = new(TrainConfig.Keys);
        foreach ((string key, string value) in method.Settings) settings.Set(key, value, method.Name);
        string number = (seed ?? 0).ToString(System.Globalization.CultureInfo.InvariantCulture);
        settings.Set("seed", number, method.Name);
        string chosen = (sample ?? 0).ToString(System.Globalization.CultureInfo.InvariantCulture);
        if (sample is not null) settings.Set("shots-seed", chosen, method.Name);
        if (!settings.Has("basis-seed")) settings.Set("basis-seed", number, method.Name);
        settings.Set("device", device, method.Name);
        settings.Set("threads", threads.ToString(System.Globalization.CultureInfo.InvariantCulture), method.Name);
        TrainConfig config;
        try
        {
            config = TrainConfig.From(settings);
        }
        catch (NolaException error)
        {
            throw new NolaException($"Method '{method.Name}': {error.Message}", error);
        }
        ExperimentRun? source = method.Kind == ExperimentKind.Quantize
            ? before.Last(run => run.Method.Name == method.Of && run.Seed == seed && run.Sample == sample)
            : null;
        string id = Digest(method.Kind switch
        {
            ExperimentKind.Train => config.ToJson(),
            ExperimentKind.Base =>
                $"base {config.Model} {config.Storage}{(config.Chat ? " chat" : "")}{(config.Truncate ? " truncated" : "")}",
            _ => $"{source!.Id} {method.Bits} bits",
        });
        string seeds = (seed is null ? "" : $"s{number}--") + (sample is null ? "" : $"k{chosen}--");
        string folder = Path.Combine(root, $"{method.Name}--{seeds}{id}");
        return new(method, seed, config with { Out = folder }, id, folder, source) { Sample = sample };
    }

    private static string Digest(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..8];
}
