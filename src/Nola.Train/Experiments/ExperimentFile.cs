using System.Text.Json;
using System.Text.RegularExpressions;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>What a method of an experiment does.</summary>
internal enum ExperimentKind
{
    /// <summary>Trains, as <c>nola train</c> does.</summary>
    Train,

    /// <summary>Scores the base model as it is; once, since no seed has a part in it.</summary>
    Base,

    /// <summary>Rounds the adapter of another method to a few bits and scores that.</summary>
    Quantize,
}

/// <summary>One method of an experiment, to be run with each seed.</summary>
/// <param name="Name">In the table, and in the names of directories.</param>
/// <param name="Series">Methods with the same series are joined in the plot; empty for none.</param>
/// <param name="Kind">What it does.</param>
/// <param name="Of">The method whose adapter is rounded.</param>
/// <param name="Bits">To how many bits.</param>
/// <param name="Settings">The keys of <c>nola train</c>, those of all methods included.</param>
internal sealed record ExperimentMethod(
    string Name, string Series, ExperimentKind Kind, string Of, int Bits, IReadOnlyDictionary<string, string> Settings);

/// <summary>
/// An experiment: base model, data, methods and seeds in one JSON file. Every key of <c>nola train</c> can vary; specified in
/// docs/experiments.md.
/// </summary>
internal sealed partial class ExperimentFile
{
    private static readonly string[] keys =
        ["name", "settings", "methods", "seeds", "samples", "test", "test-subset", "scores", "decoding", "mmlu", "forgetting", "plot"];

    // Chosen by the runner.
    private static readonly string[] reserved = ["out", "seed", "device", "threads"];

    private ExperimentFile(JsonElement root, string path)
    {
        foreach (JsonProperty property in root.EnumerateObject())
            if (!keys.Contains(property.Name))
                throw new NolaException($"{path}: the key '{property.Name}' is not known; "
                    + $"did you mean '{Spelling.Nearest(property.Name, keys)}'? Known keys: {string.Join(", ", keys)}.");
        ExperimentReader reader = new(root, path);
        Name = reader.Text("name", Path.GetFileNameWithoutExtension(path));
        if (!FolderName().IsMatch(Name)) throw new NolaException(
            $"{path}: the name '{Name}' becomes a directory's; use at most 100 letters, digits and . _ - =.");
        Settings common = new(TrainConfig.Keys);
        if (root.TryGetProperty("settings", out JsonElement settings)) ReadInto(common, settings, $"{path}, settings", []);
        Seeds = reader.Seeds("seeds");
        bool images = common.Has("images");
        Samples = root.TryGetProperty("samples", out _) ? reader.Seeds("samples") : [];
        if (Samples.Count > 0 && !(images && common.Has("shots")))
            throw new NolaException(
                $"{path}: \"samples\" is given; it is for few images of each class, with images and shots in \"settings\".");
        Scores = reader.Texts("scores", [images ? AccuracyScore.Called : "loss"]);
        if (images && (Scores.Count != 1 || Scores[0] != AccuracyScore.Called))
            throw new NolaException($"{path}: \"scores\" of an experiment with images is [\"{AccuracyScore.Called}\"], or left out.");
        Decoding = root.TryGetProperty("decoding", out JsonElement decoding)
            ? DecodingReader.Read(decoding, $"{path}, decoding")
            : GenerateOptions.Published;
        Mmlu = reader.Text("mmlu", "");
        Forgetting = reader.Text("forgetting", "");
        Plot = reader.Text("plot", Scores[0]);
        TestSubset = reader.Text("test-subset", "all") switch
        {
            "all" => DataSubset.All,
            "seen" => DataSubset.Seen,
            "unseen" => DataSubset.Unseen,
            string other => throw new NolaException($"{path}: test-subset is '{other}'; expected all, seen or unseen."),
        };
        Test = reader.Text(
            "test",
            images ? common.Text("images", "")
            : EmbeddedData.Names.Contains(common.Text("data", EmbeddedData.E2EName)) && !common.Has("text")
                ? common.Text("data", EmbeddedData.E2EName) + ":test"
                : "");
        if (Test.Length == 0) throw new NolaException($"{path}: there is no \"test\", the pairs to score on.");
        Methods = ReadMethods(root, common, path);
    }

    /// <summary>What the experiment is called.</summary>
    public string Name { get; }

    /// <summary>Seeds of shuffle and bases; every method runs once with each.</summary>
    public IReadOnlyList<ulong> Seeds { get; }

    /// <summary>
    /// Seeds of the choice of few images, each combined with each of <see cref="Seeds"/>; empty where every seed makes its own choice.
    /// </summary>
    public IReadOnlyList<ulong> Samples { get; }

    /// <summary>Names of what is measured.</summary>
    public IReadOnlyList<string> Scores { get; }

    /// <summary>How texts are generated for scores that need them.</summary>
    public GenerateOptions Decoding { get; }

    /// <summary>The directory of MMLU's questions; empty for none.</summary>
    public string Mmlu { get; }

    /// <summary>The texts that forgetting is measured on; empty for none.</summary>
    public string Forgetting { get; }

    /// <summary>The value on the plot's upright axis.</summary>
    public string Plot { get; }

    /// <summary>The pairs that are scored.</summary>
    public string Test { get; }

    /// <summary>Which part of them.</summary>
    public DataSubset TestSubset { get; }

    /// <summary>In the order of the file.</summary>
    public IReadOnlyList<ExperimentMethod> Methods { get; }

    /// <summary>Reads and checks a file.</summary>
    /// <exception cref="NolaException">A key, a method or a value in it is not known, or two methods have one name.</exception>
    public static ExperimentFile Read(string path)
    {
        using JsonDocument document = JsonInput.Read(path, handWritten: true);
        if (document.RootElement.ValueKind != JsonValueKind.Object) throw new NolaException(
            $"{path}: expected one JSON object, with settings, methods and seeds.");
        return new ExperimentFile(document.RootElement, path);
    }

    private static List<ExperimentMethod> ReadMethods(JsonElement root, Settings common, string path)
    {
        if (!root.TryGetProperty("methods", out JsonElement list) || list.ValueKind != JsonValueKind.Array || list.GetArrayLength() == 0)
            throw new NolaException($"{path}: \"methods\" must be a list of at least one method.");
        List<ExperimentMethod> methods = [];
        foreach (JsonElement item in list.EnumerateArray())
        {
            ExperimentMethod method = ReadMethod(item, common, methods, $"{path}, method {methods.Count + 1}");
            // Directories on some systems do not tell capitals apart.
            if (methods.Any(m => m.Name.Equals(method.Name, StringComparison.OrdinalIgnoreCase)))
                throw new NolaException($"{path}: two methods are called '{method.Name}'; give each a name of its own.");
            methods.Add(method);
        }
        return methods;
    }

    private static ExperimentMethod ReadMethod(JsonElement item, Settings common, List<ExperimentMethod> before, string place)
    {
        if (item.ValueKind != JsonValueKind.Object)
            throw new NolaException($"{place}: expected an object with a name and the keys that differ.");
        ExperimentReader reader = new(item, place);
        string name = reader.Text("name", "");
        if (!FolderName().IsMatch(name)) throw new NolaException(
            $"{place}: the name '{name}' becomes a directory's; use at most 100 letters, digits and . _ - =.");
        place = $"{place} ('{name}')";
        string series = reader.Text("series", "");
        if (item.TryGetProperty("of", out _)) return ReadQuantized(item, reader, name, series, before, place);
        string kind = reader.Text("method", common.Text("method", "nola"));
        if (AdapterMethods.Find(kind) is null && kind is not ("full" or "base"))
        {
            string known = string.Join(", ", AdapterMethods.Known.Select(method => method.Name));
            throw new NolaException(
                $"{place}: the method '{kind}' is not known; expected {known}, full or base, or \"of\" with the method to round.");
        }
        if (kind == "base" && common.Has("images"))
            throw new NolaException(
                $"{place}: a base model knows no classes of these images; take method head, which trains a classifier alone.");
        Settings settings = common.Copy();
        ReadInto(settings, item, place, kind == "base" ? ["name", "series", "method"] : ["name", "series"]);
        return new(name, series, kind == "base" ? ExperimentKind.Base : ExperimentKind.Train, "", 0, settings.Given);
    }

    private static ExperimentMethod ReadQuantized(
        JsonElement item, ExperimentReader reader, string name, string series, List<ExperimentMethod> before, string place)
    {
        foreach (JsonProperty property in item.EnumerateObject())
            if (property.Name is not ("name" or "series" or "of" or "bits"))
                throw new NolaException($"{place}: '{property.Name}' cannot be combined with \"of\"; rounding has only \"bits\".");
        string of = reader.Text("of", "");
        ExperimentMethod source = before.FirstOrDefault(m => m.Name == of)
            ?? throw new NolaException($"{place}: there is no method '{of}' before it.");
        bool adapter = source.Kind == ExperimentKind.Train && source.Settings.GetValueOrDefault("method", "nola") != "full"
            && source.Settings.GetValueOrDefault("quantize-bits", "0") == "0";
        if (!adapter) throw new NolaException($"{place}: '{of}' trains no float32 adapter that could be rounded.");
        int bits = reader.Whole("bits");
        if (bits is not (8 or 4 or 3 or 2)) throw new NolaException($"{place}: bits is {bits}; expected 8, 4, 3 or 2.");
        return new(name, series, ExperimentKind.Quantize, of, bits, source.Settings);
    }

    private static void ReadInto(Settings settings, JsonElement from, string place, string[] except)
    {
        if (from.ValueKind != JsonValueKind.Object)
            throw new NolaException($"{place}: expected an object of settings of training.") { Options = ["Settings"] };
        foreach (JsonProperty property in from.EnumerateObject())
        {
            if (except.Contains(property.Name)) continue;
            if (reserved.Contains(property.Name))
                throw new NolaException(
                    $"{place}: '{property.Name}' is chosen by the experiment; seeds are given in \"seeds\", the rest on the command line.");
            settings.Set(property, place);
        }
    }

    [GeneratedRegex("^[A-Za-z0-9][A-Za-z0-9._=-]{0,99}\\z")]
    private static partial Regex FolderName();
}
