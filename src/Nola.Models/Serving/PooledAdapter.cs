namespace Nola.Models;

/// <summary>
/// An adapter of an <see cref="AdapterPool"/>: its content as it was read. It never changes; another file under its name is another one.
/// </summary>
public sealed class PooledAdapter
{
    private bool pinned;

    internal PooledAdapter(AdapterPool pool, string name, string path, PooledContent content) =>
        (Pool, Name, Path, Held) = (pool, name, path, content);

    /// <summary>What requests call it.</summary>
    public string Name { get; }

    /// <summary>Where it was read from.</summary>
    public string Path { get; }

    /// <summary>A digest of settings and values, by which everything that is made of it is known. 32 hex digits.</summary>
    public string Fingerprint => Held.Content.Digest;

    /// <summary>Its settings.</summary>
    public AdapterOptions Options => Held.Content.Form.Options;

    /// <summary>Its method.</summary>
    public AdapterMethod Method => Options.Method;

    /// <summary>Bytes of its trained values, which stay in memory.</summary>
    public long Bytes => Held.Content.Bytes;

    /// <summary>Bytes of its factors when they are mixed.</summary>
    public long MixedBytes => Held.MixedBytes;

    /// <summary>Whether its factors are mixed now.</summary>
    public bool IsMixed => Held.Mixed is not null;

    /// <summary>When it was added.</summary>
    public DateTimeOffset Added { get; } = DateTimeOffset.UtcNow;

    /// <summary>Whether its factors stay once they are mixed.</summary>
    public bool IsPinned
    {
        get => pinned;
        set => Pool.Pin(this, ref pinned, value);
    }

    internal AdapterPool Pool { get; }

    internal PooledContent Held { get; }
}

/// <summary>A content that names of a pool stand for, and its factors while they are mixed.</summary>
/// <param name="content">What the file said.</param>
/// <param name="mixedBytes">Bytes of its factors.</param>
internal sealed class PooledContent(AdapterContent content, long mixedBytes)
{
    public AdapterContent Content => content;

    public long MixedBytes => mixedBytes;

    /// <summary>The factors, as long as they are mixed.</summary>
    public LoadedAdapter? Mixed { get; set; }

    /// <summary>Names that stand for it.</summary>
    public int Names { get; set; }

    /// <summary>How many of them are pinned.</summary>
    public int Pins { get; set; }

    /// <summary>Sequences that are read with it.</summary>
    public int Uses { get; set; }

    /// <summary>When it was last used, in uses of the pool.</summary>
    public long Used { get; set; }
}
