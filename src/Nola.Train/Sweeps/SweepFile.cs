using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>One of many runs of a manifest.</summary>
/// <param name="Name">What it is called: the name of its directory.</param>
/// <param name="Place">Where it stands.</param>
/// <param name="Own">The settings that its line gives.</param>
/// <param name="Config">All of its settings.</param>
internal sealed record SweepRun(string Name, string Place, IReadOnlyDictionary<string, string> Own, TrainConfig Config)
{
    /// <summary>What the run came to, once it has ended.</summary>
    public string ResultFile => Path.Combine(Config.Out, "result.json");

    /// <summary>A digest of what decides what the run gives.</summary>
    public string Digest => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Config.ToJson())))[..16];
}

/// <summary>
/// A manifest of runs: JSON lines <c>{"name": …, …}</c>, each with a name and any keys of a training configuration. What all have in
/// common may be given beside it.
/// </summary>
internal static class SweepFile
{
    /// <summary>Reads and checks a whole manifest; nothing has run then.</summary>
    /// <param name="path">The manifest.</param>
    /// <param name="common">Settings of all, which lines take precedence over.</param>
    /// <param name="root">The directory of all runs.</param>
    /// <param name="device">Name of the device.</param>
    /// <param name="threads">Threads of the CPU.</param>
    /// <exception cref="NolaException">A line cannot be read, a setting is out of its range, or two runs have one name.</exception>
    public static IReadOnlyList<SweepRun> Read(string path, Settings common, string root, string device, int threads)
    {
        List<SweepRun> runs = [];
        Dictionary<string, string> places = new(StringComparer.OrdinalIgnoreCase);
        using TextInput text = TextInput.Open(path);
        for (int number = text.Line; text.ReadLine() is { } line; number = text.Line)
        {
            if (line.Trim().Length == 0) continue;
            string place = $"{path}:{number}";
            using JsonDocument row = JsonInput.Parse(line, place);
            SweepRun run = Run(row.RootElement, place, common, root, device, threads);
            if (!places.TryAdd(run.Name, place))
                throw new NolaException(
                    $"{place}: the name {Quoted.Of(run.Name)} is that of {places[run.Name]} too; give each run its own.");
            runs.Add(run);
        }
        return runs.Count > 0 ? runs
            : throw new NolaException($"{path}: there is no run in it; expected a line such as {{\"name\": …, \"lr\": …}} for each.");
    }

    private static SweepRun Run(JsonElement row, string place, Settings common, string root, string device, int threads)
    {
        if (row.ValueKind != JsonValueKind.Object)
            throw new NolaException(
                $"{place}: expected one JSON object such as {{\"name\": …, \"lr\": …}}, and this is {JsonFields.Kind(row)}.");
        if (!row.TryGetProperty("name", out _))
            throw new NolaException($"{place}: no \"name\" is there; give each run one, which its directory gets.");
        string name = JsonFields.Text(row, "name", place);
        TaskList.CheckName(name, place);
        Settings own = new(TrainConfig.Keys);
        foreach (JsonProperty property in row.EnumerateObject())
        {
            if (property.Name is "out" or "device" or "threads")
                throw new NolaException($"{place}: the key '{property.Name}' is that of the whole sweep; leave it out of the line.");
            if (property.Name != "name") own.Set(property, place);
        }
        Settings all = common.Copy();
        all.Set(own);
        all.Set("out", Path.Combine(root, name), place);
        all.Set("device", device, place);
        all.Set("threads", $"{threads}", place);
        try
        {
            return new(name, place, own.Given, TrainConfig.From(all));
        }
        catch (NolaException error)
        {
            throw new NolaException($"{place}: {error.Message}", error);
        }
    }
}
