using System.Text.Json;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>A task as a list names it.</summary>
/// <param name="Name">What it is called: the name of its directory.</param>
/// <param name="Data">The training pairs.</param>
/// <param name="Valid">The validation pairs; empty for none.</param>
internal sealed record TaskFiles(string Name, string Data, string Valid);

/// <summary>
/// Lists of tasks: a directory, in which each file is a task's training pairs, called like it, and <c>NAME.valid.EXTENSION</c> its
/// validation pairs; or a manifest, JSON lines <c>{"name": …, "data": …, "valid": …}</c> with files relative to the manifest's place.
/// </summary>
internal static class TaskList
{
    private const string Valid = ".valid";

    /// <summary>Reads a list; the files that it names are not read yet.</summary>
    /// <exception cref="NolaException">There is no such list, it is empty, or a line or a name of it cannot be used.</exception>
    public static IReadOnlyList<TaskFiles> Read(string path)
    {
        List<(TaskFiles Task, string Place)> all = Directory.Exists(path) ? OfDirectory(path) : OfManifest(path);
        if (all.Count == 0) throw new NolaException($"{path}: there is no task in it; expected a data file or a line for each.");
        Dictionary<string, string> places = new(StringComparer.OrdinalIgnoreCase);
        foreach ((TaskFiles task, string place) in all)
        {
            CheckName(task.Name, place);
            if (!places.TryAdd(task.Name, place))
                throw new NolaException(
                    $"{place}: the name {Quoted.Of(task.Name)} is that of {places[task.Name]} too; give each task its own.");
        }
        return [.. all.Select(one => one.Task)];
    }

    private static List<(TaskFiles, string)> OfDirectory(string path)
    {
        string[] files =
        [
            .. Directory.EnumerateFiles(path).Where(file => !Path.GetFileName(file).StartsWith('.')).Order(StringComparer.Ordinal),
        ];
        Dictionary<string, string> held = [];
        foreach (string file in files.Where(IsHeld))
            if (!held.TryAdd(NameOf(file)[..^Valid.Length], file))
                throw new NolaException(
                    $"{path}: there are two files of validation pairs for {Quoted.Of(NameOf(file)[..^Valid.Length])}; leave one.");
        return [.. files.Where(file => !IsHeld(file)).Select(file =>
            (new TaskFiles(NameOf(file), file, held.GetValueOrDefault(NameOf(file), "")), file))];

        bool IsHeld(string file) => NameOf(file).EndsWith(Valid, StringComparison.Ordinal);
    }

    // The file's name without its extension, and without .gz behind it.
    private static string NameOf(string file)
    {
        string name = Path.GetFileName(file);
        if (name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase)) name = name[..^3];
        return Path.GetFileNameWithoutExtension(name);
    }

    private static List<(TaskFiles, string)> OfManifest(string path)
    {
        List<(TaskFiles, string)> tasks = [];
        string place = Path.GetDirectoryName(Path.GetFullPath(path))!;
        using TextInput text = TextInput.Open(path);
        for (int number = text.Line; text.ReadLine() is { } line; number = text.Line)
        {
            if (line.Trim().Length == 0) continue;
            string where = $"{path}:{number}";
            using JsonDocument row = JsonInput.Parse(line, where);
            tasks.Add((Task(row.RootElement, where, place), where));
        }
        return tasks;
    }

    private static TaskFiles Task(JsonElement row, string where, string place)
    {
        if (row.ValueKind != JsonValueKind.Object)
            throw new NolaException(
                $"{where}: expected one JSON object such as {{\"name\": …, \"data\": …}}, and this is {JsonFields.Kind(row)}.");
        foreach (JsonProperty property in row.EnumerateObject())
            if (property.Name is not ("name" or "data" or "valid"))
                throw new NolaException($"{where}: the key {Quoted.Of(property.Name)} is not known; expected name, data and valid.");
        foreach (string key in (ReadOnlySpan<string>)["name", "data"])
            if (!row.TryGetProperty(key, out _)) throw new NolaException($"{where}: no \"{key}\" is there; expected name, data and valid.");
        bool held = row.TryGetProperty("valid", out _);
        return new(JsonFields.Text(row, "name", where), File("data"), held ? File("valid") : "");

        string File(string key) => Path.Combine(place, JsonFields.Text(row, key, where));
    }

    // It becomes the name of a directory.
    internal static void CheckName(string name, string place)
    {
        bool fits = name.Length is > 0 and <= 100 && name.All(c => char.IsLetterOrDigit(c) || c is '-' or '_' or '.' or ' ')
            && name.Trim(' ', '.').Length == name.Length;
        if (!fits)
            throw new NolaException(
                $"{place}: its name is {Quoted.Of(name)}; expected 1 to 100 letters, digits, '-', '_', '.' and spaces, since it "
                + "becomes the name of a directory.");
    }
}
