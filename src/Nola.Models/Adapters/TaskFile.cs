using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Adapters of several tasks in one file: those of one base, one seed and equal settings differ in their trained values alone, so the
/// settings are there once, and each tensor holds the values of all tasks, task by task. One of them is named by the path of the file, a
/// colon and its name, for example <c>tasks.safetensors:laptops</c>. Specified in docs/adapter-file.md.
/// </summary>
public static class TaskFile
{
    /// <summary>The format of a file whose tensors are float32.</summary>
    internal const string Format = "nola-tasks/1";

    /// <summary>The format of a file whose tensors are packed codes.</summary>
    internal const string QuantizedFormat = "nola-tasks/2";

    private const string TasksKey = "tasks", FormatKey = "format", NameKey = "base_model";

    /// <summary>Puts adapter files into one file.</summary>
    /// <param name="adapters">The name of each task, and the file of its adapter; at least one.</param>
    /// <param name="output">The file to write; not one that exists.</param>
    /// <exception cref="NolaException">
    /// A file is no adapter, the settings of two differ, a name cannot be one or is there twice, or the output exists or cannot be written.
    /// </exception>
    public static void Join(IReadOnlyList<(string Name, string Path)> adapters, string output)
    {
        if (adapters.Count == 0) throw new NolaException("There is no adapter to be joined.");
        if (Path.Exists(output)) throw new NolaException($"{output}: exists already; choose another path.");
        CheckNames(adapters);
        List<Safetensors> files = [];
        try
        {
            foreach ((_, string path) in adapters)
            {
                AdapterFile.CheckFile(path);
                files.Add(Safetensors.Open(path));
                _ = new AdapterSettings(files[^1]);
                RefuseOther(files[0], files[^1]);
            }
            Dictionary<string, string> metadata = new(files[0].Metadata)
            {
                [FormatKey] = IsPacked(files[0]) ? QuantizedFormat : Format,
                [TasksKey] = JsonSerializer.Serialize(adapters.Select(adapter => adapter.Name), JsonForms.Readable),
            };
            // How a step was divided is said of all tasks or of none.
            if (files.Any(file => Shards(file) != Shards(files[0]))) metadata.Remove(AdapterSettings.ShardsKey);
            SafetensorsWriter.Write(output, files[0].Entries.Select(entry => Stacked(files, entry)), metadata);
        }
        finally
        {
            foreach (Safetensors file in files) file.Dispose();
        }
    }

    /// <summary>The tasks of a joint file, in its order; null for any other file.</summary>
    /// <exception cref="NolaException">The file cannot be read, or does not say its tasks as joint files do.</exception>
    public static IReadOnlyList<string>? Tasks(string path)
    {
        using Safetensors file = Safetensors.Open(path);
        return TasksOf(file);
    }

    /// <summary>Opens an adapter's file, or what a joint file holds of a task, as the file of its own that it was made of.</summary>
    /// <param name="path">A file, or a joint file, a colon and a task.</param>
    /// <exception cref="NolaException">There is no such file or task, or a task is not named.</exception>
    internal static Safetensors Open(string path)
    {
        (string name, string? task) = Split(path);
        if (!File.Exists(name))
            throw new NolaException($"{name}: there is no such adapter; expected a Nola adapter file or a PEFT directory.");
        Safetensors file = Safetensors.Open(name);
        try
        {
            if (TasksOf(file) is not { } tasks)
            {
                if (task is null) return file;
                throw new NolaException($"{path}: {name} is the adapter of one task; give it without {Quoted.Of(":" + task)}.");
            }
            string some = string.Join(", ", tasks.Take(8)) + (tasks.Count > 8 ? ", …" : "");
            if (task is null)
                throw new NolaException($"{name}: holds the adapters of {tasks.Count} tasks ({some}); name one, as in {name}:{tasks[0]}.");
            int row = tasks.IndexOf(task);
            if (row < 0) throw new NolaException($"{name}: has no task {Quoted.Of(task)}; it has {tasks.Count} ({some}).");
            Safetensors one = Safetensors.Open(SafetensorsWriter.ToBytes(
                file.Entries.Select(entry => Row(file, entry, row, tasks.Count)), Metadata(file)), path);
            file.Dispose();
            return one;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Whether a path names a file that is there, by itself or with a task behind a colon.</summary>
    internal static bool Exists(string path) => File.Exists(Split(path).File);

    // Files and tasks may have colons in their names; a task stands behind the first one before which there is a file.
    private static (string File, string? Task) Split(string path)
    {
        if (File.Exists(path)) return (path, null);
        for (int colon = path.IndexOf(':'); colon > 0; colon = path.IndexOf(':', colon + 1))
            if (File.Exists(path[..colon])) return (path[..colon], path[(colon + 1)..]);
        return (path, null);
    }

    private static void CheckNames(IReadOnlyList<(string Name, string Path)> adapters)
    {
        Dictionary<string, string> seen = [];
        foreach ((string name, string path) in adapters)
        {
            AdapterName.Check(name);
            if (!seen.TryAdd(name, path))
                throw new NolaException($"{seen[name]} and {path} would both be called {Quoted.Of(name)}; give one of them another name.");
        }
    }

    // What the base was called says where it was, and not what it is.
    private static void RefuseOther(Safetensors first, Safetensors file)
    {
        // The method makes the others what they are, and the format and the fingerprint differ because a setting does.
        IEnumerable<string> keys = first.Metadata.Keys.Union(file.Metadata.Keys)
            .Where(key => key is not (NameKey or AdapterSettings.ShardsKey));
        keys = keys.Order(StringComparer.Ordinal).OrderBy(key => key switch { "method" => 0, FormatKey or "fingerprint" => 2, _ => 1 });
        foreach (string key in keys)
        {
            (string? here, string? there) = (first.Metadata.GetValueOrDefault(key), file.Metadata.GetValueOrDefault(key));
            if (here != there)
                throw new NolaException(
                    $"{file.Path}: its {key} is {Quoted.Of(there ?? "not there")} and that of {first.Path} is "
                    + $"{Quoted.Of(here ?? "not there")}; adapters of one file have the same base, seed and settings.");
        }
        foreach (SafetensorsEntry entry in first.Entries)
            if (!file.TryGet(entry.Name, out SafetensorsEntry? own) || own.Type != entry.Type || !own.Shape.SequenceEqual(entry.Shape)
                || file.Entries.Count != first.Entries.Count)
                throw new NolaException($"{file.Path}: its tensors are others than those of {first.Path}; one of the files is damaged.");
    }

    private static string? Shards(Safetensors file) => file.Metadata.GetValueOrDefault(AdapterSettings.ShardsKey);

    private static bool IsPacked(Safetensors file) => file.Metadata[FormatKey] is QuantizedFormat or AdapterFile.QuantizedFormat;

    private static Dictionary<string, string> Metadata(Safetensors file)
    {
        Dictionary<string, string> metadata = new(file.Metadata)
        {
            [FormatKey] = IsPacked(file) ? AdapterFile.QuantizedFormat : AdapterFile.Format,
        };
        metadata.Remove(TasksKey);
        return metadata;
    }

    /// <summary>The tasks of a joint file, in its order; null for any other file.</summary>
    internal static List<string>? TasksOf(Safetensors file)
    {
        if (file.Metadata.GetValueOrDefault(FormatKey) is not (Format or QuantizedFormat)) return null;
        using JsonDocument document = JsonInput.Parse(file.Metadata.GetValueOrDefault(TasksKey, "null"), $"{file.Path}: its tasks");
        JsonElement list = document.RootElement;
        bool names = list.ValueKind == JsonValueKind.Array && list.GetArrayLength() > 0
            && list.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String);
        List<string> tasks = names ? [.. list.EnumerateArray().Select(item => item.GetString()!)] : [];
        return names && tasks.Distinct().Count() == tasks.Count
            ? tasks
            : throw new NolaException($"{file.Path}: its tasks are no list of different names; the file is damaged.");
    }

    // The values of all tasks, one after another: (tasks, …).
    private static SafetensorsTensor Stacked(List<Safetensors> files, SafetensorsEntry entry)
    {
        Shape shape = Shape.Create([files.Count, .. entry.Shape.Select(d => (int)d)]);
        return entry.Type == "U8"
            ? SafetensorsTensor.OfBytes(entry.Name, shape, [.. files.SelectMany(file => file.ReadBytes(file.Get(entry.Name)))])
            : new(entry.Name, shape, [.. files.SelectMany(file => file.ReadFinite(file.Get(entry.Name)))]);
    }

    // What a task has of them.
    private static SafetensorsTensor Row(Safetensors file, SafetensorsEntry entry, int row, int tasks)
    {
        if (entry.Shape.Length < 2 || entry.Shape[0] != tasks || entry.Type is not ("U8" or "F32"))
            throw new NolaException(
                $"{file.Path}: tensor {Quoted.Of(entry.Name)} is {entry.Type} and has shape [{string.Join(", ", entry.Shape)}]; "
                + $"expected F32 or U8 and the values of {tasks} tasks. The file is damaged.");
        Shape shape = Shape.Create([.. entry.Shape.Skip(1).Select(d => (int)d)]);
        if (entry.Type == "U8")
        {
            byte[] bytes = new byte[shape.Length];
            file.ReadBytes(entry, (long)row * bytes.Length, bytes);
            return SafetensorsTensor.OfBytes(entry.Name, shape, bytes);
        }
        float[] values = new float[shape.Length];
        file.FiniteFloats(entry, (long)row * values.Length, values);
        return new(entry.Name, shape, values);
    }
}
