using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Many adapters beside one model. Their trained values stay in memory, in the form of their files; what a pass of the model needs,
/// the factors, is mixed when a sequence asks for it, and leaves when the memory for it is full, the least recently used first. An
/// adapter is known by the digest of its content: what was made of one file never serves another, whatever their names. Adapters are
/// added and removed by any thread; whoever drives the device mixes them.
/// </summary>
public sealed class AdapterPool : IDisposable
{
    // Adapters that are mixed in one product. More at once would only take memory.
    private const int Together = 32;

    private readonly Lock gate = new();
    private readonly BaseIdentity identity;
    private readonly Dictionary<string, PooledAdapter> adapters = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PooledContent> contents = [];
    private readonly Dictionary<string, AdapterForm> forms = [];

    // Those whose factors are mixed or wait for it, and which nothing stands for any more.
    private readonly List<PooledContent> reserved = [], leaving = [];
    private long clock, hits, misses, evictions;
    private TimeSpan mixTime;

    /// <summary>A pool without adapters. The model's weights stay as they are from now on.</summary>
    /// <param name="model">The base of all adapters.</param>
    /// <param name="options">Settings.</param>
    public AdapterPool(LanguageModel model, AdapterPoolOptions? options = null)
    {
        (Model, Options) = (model, options ?? new());
        ArgumentOutOfRangeException.ThrowIfNegative(Options.MixedMemory);
        identity = new BaseIdentity(model);
        // Asked for now, since later another thread drives the device.
        _ = identity.Whole;
        _ = identity.Sampled;
    }

    /// <summary>The base.</summary>
    public LanguageModel Model { get; }

    /// <summary>Settings.</summary>
    public AdapterPoolOptions Options { get; }

    /// <summary>All adapters, by name.</summary>
    public IReadOnlyCollection<PooledAdapter> Adapters
    {
        get
        {
            lock (gate) return [.. adapters.Values.OrderBy(adapter => adapter.Name, StringComparer.Ordinal)];
        }
    }

    /// <summary>What it holds, and what it did.</summary>
    public AdapterPoolStatistics Statistics
    {
        get
        {
            lock (gate)
            {
                PooledContent[] mixed = [.. reserved.Where(content => content.Mixed is not null)];
                return new(
                    adapters.Count, contents.Values.Sum(content => content.Content.Bytes), mixed.Length,
                    mixed.Sum(content => content.MixedBytes), hits, misses, evictions, mixTime);
            }
        }
    }

    /// <summary>
    /// Reads a Nola file, or a PEFT directory, and checks it whole; nothing is mixed. An adapter that has the name already is replaced;
    /// sequences that are read with it go on with it.
    /// </summary>
    /// <param name="name">What requests will call it.</param>
    /// <param name="path">A file or a directory.</param>
    /// <exception cref="NolaException">It is of another base model or generator, contradicts itself, or is not an adapter.</exception>
    public PooledAdapter Add(string name, string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        AdapterContent read = AdapterFile.Read(path, Model, identity);
        lock (gate)
        {
            if (!contents.TryGetValue(read.Digest, out PooledContent? content))
            {
                if (!forms.TryGetValue(read.Form.Key, out AdapterForm? form)) forms[read.Form.Key] = form = read.Form;
                long bytes = Adapter.LoadedBytes(form, Model);
                contents[read.Digest] = content = new(read with { Form = form }, bytes);
            }
            PooledAdapter adapter = new(this, name, path, content);
            content.Names++;
            if (adapters.TryGetValue(name, out PooledAdapter? old)) Forget(old);
            return adapters[name] = adapter;
        }
    }

    /// <summary>The adapter of a name.</summary>
    public bool TryGet(string name, [NotNullWhen(true)] out PooledAdapter? adapter)
    {
        lock (gate) return adapters.TryGetValue(name, out adapter);
    }

    /// <summary>Forgets a name. Sequences that are read with its adapter go on with it. False when nothing is called so.</summary>
    public bool Remove(string name)
    {
        lock (gate)
        {
            if (!adapters.Remove(name, out PooledAdapter? adapter)) return false;
            Forget(adapter);
            return true;
        }
    }

    /// <summary>Gives the memory back, when nothing is read with an adapter any more.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            foreach (PooledContent content in reserved) content.Mixed?.Dispose();
            foreach (PooledContent content in reserved) content.Mixed = null;
            reserved.Clear();
            leaving.Clear();
        }
    }

    /// <summary>
    /// Keeps room for the factors of a sequence that joins; false where those in use leave none. Each success is ended by
    /// <see cref="Release"/>. Only the thread that drives the device calls this, and what follows.
    /// </summary>
    internal bool TryReserve(PooledAdapter adapter)
    {
        lock (gate)
        {
            Sweep();
            PooledContent content = adapter.Held;
            if (!reserved.Contains(content))
            {
                while (Reserved + content.MixedBytes > Options.MixedMemory && Oldest() is { } oldest)
                {
                    evictions++;
                    Drop(oldest);
                }
                if (Reserved + content.MixedBytes > Options.MixedMemory && reserved.Exists(other => other.Uses > 0)) return false;
                reserved.Add(content);
                misses++;
            }
            else hits++;
            content.Uses++;
            content.Used = ++clock;
            return true;
        }
    }

    /// <summary>Mixes the factors of all for which room is kept, those of one form in one product.</summary>
    /// <returns>Those that cannot be mixed, and why.</returns>
    internal IReadOnlyDictionary<PooledContent, NolaException> Mix()
    {
        Dictionary<PooledContent, NolaException> failed = [];
        PooledContent[] missing;
        lock (gate) missing = [.. reserved.Where(content => content.Mixed is null)];
        if (missing.Length == 0) return failed;
        long start = Stopwatch.GetTimestamp();
        foreach (PooledContent[] some in missing.GroupBy(content => content.Content.Form).SelectMany(form => form.Chunk(Together)))
            Mix(some, failed);
        lock (gate) mixTime += Stopwatch.GetElapsedTime(start);
        return failed;
    }

    /// <summary>Says that a sequence is no longer read with an adapter.</summary>
    internal void Release(PooledAdapter adapter)
    {
        lock (gate)
        {
            PooledContent content = adapter.Held;
            content.Uses--;
            if (content.Uses == 0 && (content.Names == 0 || content.Mixed is null)) Drop(content);
        }
    }

    internal void Pin(PooledAdapter adapter, ref bool pinned, bool value)
    {
        lock (gate)
        {
            if (pinned == value) return;
            pinned = value;
            // One that was removed pins nothing.
            if (adapters.GetValueOrDefault(adapter.Name) == adapter) adapter.Held.Pins += value ? 1 : -1;
        }
    }

    private long Reserved => reserved.Sum(content => content.MixedBytes);

    private void Mix(PooledContent[] some, Dictionary<PooledContent, NolaException> failed)
    {
        try
        {
            IReadOnlyList<LoadedAdapter> mixed = LoadedAdapter.Of(Model, [.. some.Select(content => content.Content)]);
            for (int i = 0; i < mixed.Count; i++) some[i].Mixed = mixed[i];
        }
        catch (NolaException) when (some.Length > 1)
        {
            // Each by itself, so that one that is too large fails alone.
            foreach (PooledContent content in some) Mix([content], failed);
        }
        catch (NolaException error)
        {
            failed[some[0]] = error;
        }
    }

    private PooledContent? Oldest() =>
        reserved.Where(content => content.Uses == 0 && content.Pins == 0).MinBy(content => content.Used);

    private void Forget(PooledAdapter adapter)
    {
        PooledContent content = adapter.Held;
        if (adapter.IsPinned) content.Pins--;
        if (--content.Names > 0) return;
        contents.Remove(content.Content.Digest);
        leaving.Add(content);
    }

    // What nothing stands for any more; the memory is given back by the thread that drives the device.
    private void Sweep()
    {
        foreach (PooledContent content in leaving)
            if (content.Uses == 0 && content.Names == 0) Drop(content);
        leaving.Clear();
    }

    private void Drop(PooledContent content)
    {
        reserved.Remove(content);
        content.Mixed?.Dispose();
        content.Mixed = null;
    }
}
