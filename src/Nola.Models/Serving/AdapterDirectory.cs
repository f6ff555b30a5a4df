using System.Collections.Concurrent;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>A file that is no adapter of the base model.</summary>
/// <param name="Name">What the adapter would be called.</param>
/// <param name="Path">The file or directory.</param>
/// <param name="Reason">Why it was refused.</param>
public sealed record RefusedAdapter(string Name, string Path, string Reason);

/// <summary>
/// A directory of adapters whose files are an <see cref="AdapterPool"/>'s adapters, each by its path without the extension:
/// <c>a/b.safetensors</c> is <c>a/b</c>, and so is a PEFT directory <c>a/b</c> and a run's <c>a/b/adapter.safetensors</c>. Files may
/// come, go and change at any time; one that cannot be read is left out, with its reason, and the others stay. Thread-safe.
/// </summary>
public sealed class AdapterDirectory : IDisposable
{
    private const string Extension = ".safetensors", Best = "adapter.safetensors", Last = "last.safetensors";
    private const int Deepest = 4, Doors = 64;

    private static readonly EnumerationOptions everything = new() { RecurseSubdirectories = true, MaxRecursionDepth = Deepest };

    private readonly AdapterPool pool;
    private readonly ConfinedPath? confined;
    private readonly string root, reserved;
    private readonly ConcurrentDictionary<string, Entry> entries = new(StringComparer.Ordinal);

    // What is done with a name is done behind its door, so that files of different names are read at once.
    private readonly Lock[] doors = [.. Enumerable.Range(0, Doors).Select(_ => new Lock())];
    private volatile IReadOnlyList<RefusedAdapter> doubles = [];
    private DirectoryWatch? watch;

    /// <summary>A directory, of which nothing has been read yet.</summary>
    /// <param name="pool">What its adapters are put into.</param>
    /// <param name="directory">The directory.</param>
    /// <param name="baseName">The name of the base model, which no adapter may have.</param>
    /// <param name="allowOutside">Follow links out of the directory, and let <see cref="Load"/> read paths anywhere.</param>
    /// <exception cref="NolaException">There is no such directory.</exception>
    public AdapterDirectory(AdapterPool pool, string directory, string baseName, bool allowOutside = false)
    {
        if (!Directory.Exists(directory)) throw new NolaException($"{directory}: there is no such directory of adapters.");
        (this.pool, reserved, root) = (pool, baseName, Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory)));
        if (!allowOutside) confined = new(root);
    }

    /// <summary>The whole path of the directory.</summary>
    public string Root => root;

    /// <summary>What could not be read, by name.</summary>
    public IReadOnlyList<RefusedAdapter> Refused =>
        [.. entries.Values.Where(entry => entry.Reason is not null)
            .Select(entry => new RefusedAdapter(entry.Name, entry.Path, entry.Reason!))
            .Concat(doubles).OrderBy(refused => refused.Name, StringComparer.Ordinal)];

    /// <summary>Brings the pool up to date with the directory: reads what is new or changed, and forgets what is gone.</summary>
    /// <exception cref="NolaException">The directory cannot be listed.</exception>
    public void Scan(CancellationToken cancel = default)
    {
        Dictionary<string, string> found = [];
        List<RefusedAdapter> twice = [];
        foreach ((string name, string path) in List())
        {
            cancel.ThrowIfCancellationRequested();
            if (!found.TryAdd(name, path)) twice.Add(new(name, path, $"{path}: has the name of {found[name]}, which is served instead."));
        }
        doubles = twice;
        Parallel.ForEach(found, new() { CancellationToken = cancel }, pair => Refresh(pair.Key, pair.Value));
        foreach (Entry entry in entries.Values)
            if (entry.IsWatched && !found.ContainsKey(entry.Name) && PathOf(entry.Name) is null) Forget(entry);
    }

    /// <summary>Watches the directory from now on, on a thread of its own.</summary>
    /// <param name="problem">Is told when the directory cannot be listed.</param>
    public void Watch(Action<string>? problem = null) => watch ??= new DirectoryWatch(root, cancel =>
    {
        try
        {
            Scan(cancel);
        }
        catch (NolaException error)
        {
            problem?.Invoke(error.Message);
        }
    });

    /// <summary>
    /// The adapter of a name as its file is now: one that changed is read again, and one that has just come is read. Null where there is
    /// none.
    /// </summary>
    /// <exception cref="NolaException">There is a file of the name, and it cannot be read.</exception>
    public PooledAdapter? Find(string name)
    {
        if (!AdapterName.IsValid(name)) return null;
        if (!entries.TryGetValue(name, out Entry? entry))
        {
            if (PathOf(name) is not { } path) return null;
            entry = Refresh(name, path);
        }
        else if (entry.IsWatched && StampOf(entry.Path) != entry.Stamp)
        {
            if (PathOf(name) is { } path) entry = Refresh(name, path);
            else entry = Forget(entry);
        }
        if (entry.Reason is { } reason) throw new NolaException(reason);
        return entry.Adapter;
    }

    /// <summary>Reads an adapter under a name; another one that has the name is replaced.</summary>
    /// <param name="name">The name.</param>
    /// <param name="path">A file, or a PEFT directory; relative ones are below the directory.</param>
    /// <exception cref="NolaException">The name or the path is not allowed, or the file is no adapter of the base model.</exception>
    public PooledAdapter Load(string name, string path)
    {
        CheckName(name);
        string full = Locate(path);
        lock (DoorOf(name))
        {
            PooledAdapter adapter = pool.Add(name, full);
            entries[name] = new(name, full, default, adapter, null) { IsWatched = false };
            return adapter;
        }
    }

    /// <summary>Unloads an adapter. Its file stays, and is read again only when it changes.</summary>
    /// <returns>Whether there was one.</returns>
    public bool Unload(string name)
    {
        lock (DoorOf(name))
        {
            if (!entries.TryGetValue(name, out Entry? entry) || entry.Adapter is null) return false;
            pool.Remove(name);
            // What is not in the directory by itself does not come back by itself.
            if (PathOf(name) is { } path) entries[name] = new(name, path, StampOf(path), null, null);
            else entries.TryRemove(name, out _);
            return true;
        }
    }

    /// <summary>Stops watching. The adapters stay in the pool.</summary>
    public void Dispose() => watch?.Dispose();

    private string Locate(string path)
    {
        if (path.Length == 0 || path.Contains('\0')) throw new NolaException($"{Quoted.Of(path)} is no path of an adapter.");
        return confined is not null ? confined.Resolve(path) : Path.GetFullPath(path, root);
    }

    private void CheckName(string name)
    {
        AdapterName.Check(name);
        if (name == reserved) throw new NolaException($"{Quoted.Of(name)} is the name of the base model; give the adapter another one.");
    }

    private Lock DoorOf(string name) => doors[(uint)name.GetHashCode() % Doors];

    // What is known of a name, where that is still so.
    private Entry? Current(string name, string path) => entries.TryGetValue(name, out Entry? entry)
        && (!entry.IsWatched || (entry.Path == path && entry.Stamp == StampOf(path))) ? entry : null;

    // Reads what is at a path, where nobody has done so yet.
    private Entry Refresh(string name, string path)
    {
        if (Current(name, path) is { } known) return known;
        lock (DoorOf(name))
        {
            if (Current(name, path) is { } read) return read;
            // Before the file is read: what changes while it is read is seen as changed.
            Stamp stamp = StampOf(path);
            Entry entry;
            try
            {
                CheckName(name);
                confined?.Resolve(path);
                entry = new(name, path, stamp, pool.Add(name, path), null);
            }
            catch (Exception error) when (error is NolaException or IOException or UnauthorizedAccessException)
            {
                // Never the adapter that had the name before.
                pool.Remove(name);
                entry = new(name, path, stamp, null, error.Message);
            }
            return entries[name] = entry;
        }
    }

    private Entry Forget(Entry entry)
    {
        lock (DoorOf(entry.Name))
        {
            if (entries.TryRemove(new(entry.Name, entry))) pool.Remove(entry.Name);
            return entry with { Adapter = null, Reason = null };
        }
    }

    // Names and paths in the order of the paths, so that of two with one name it is always the same that is served.
    private IEnumerable<(string Name, string Path)> List()
    {
        string[] files;
        try
        {
            files = Directory.GetFiles(root, "*" + Extension, everything);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NolaException($"{root}: cannot be listed ({error.Message.TrimEnd('.')}).", error);
        }
        Array.Sort(files, StringComparer.Ordinal);
        foreach (string file in files)
            if (Named(file) is { } named) yield return named;
    }

    // What a file is to be called, and what is to be read; null for one that is not an adapter by its name.
    private (string Name, string Path)? Named(string file)
    {
        string directory = Path.GetDirectoryName(file)!, own = Path.GetFileName(file);
        bool inside = directory != root;
        if (own == PeftFiles.WeightsName && PeftFiles.AreIn(directory))
            return inside ? (NameOf(directory), directory) : (Path.GetFileName(root), directory);
        if (own == Best && inside) return (NameOf(directory), file);
        // What a run is resumed from.
        if (own == Last && File.Exists(Path.Combine(directory, Best))) return null;
        return (NameOf(file[..^Extension.Length]), file);
    }

    private string NameOf(string path) => Path.GetRelativePath(root, path).Replace(Path.DirectorySeparatorChar, '/');

    // Where an adapter of a name would be.
    private string? PathOf(string name)
    {
        if (!AdapterName.IsValid(name)) return null;
        string path = Path.Combine(root, name.Replace('/', Path.DirectorySeparatorChar));
        if (File.Exists(path + Extension) && Named(path + Extension) is { } named && named.Name == name) return named.Path;
        if (File.Exists(Path.Combine(path, Best))) return Path.Combine(path, Best);
        if (PeftFiles.AreIn(path)) return path;
        return name == Path.GetFileName(root) && PeftFiles.AreIn(root) ? root : null;
    }

    private static Stamp StampOf(string path)
    {
        FileInfo file = new(path);
        if (file.Exists) return new(file.Length, file.LastWriteTimeUtc.Ticks, 0);
        FileInfo weights = new(Path.Combine(path, PeftFiles.WeightsName)), config = new(Path.Combine(path, PeftFiles.ConfigName));
        return weights.Exists && config.Exists
            ? new(weights.Length, weights.LastWriteTimeUtc.Ticks, config.LastWriteTimeUtc.Ticks)
            : default;
    }

    // What tells one content of a file from the next.
    private readonly record struct Stamp(long Length, long Written, long Config);

    // A name with its adapter; or with the reason why there is none; or with neither, where it was unloaded.
    private sealed record Entry(string Name, string Path, Stamp Stamp, PooledAdapter? Adapter, string? Reason)
    {
        public bool IsWatched { get; init; } = true;
    }
}
