using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary>How a model is served.</summary>
public sealed record ServeOptions
{
    /// <summary>
    /// Where the server listens; port 0 takes a free one. Other machines reach it only where this is not the own machine.
    /// </summary>
    public string Url { get; init; } = "http://127.0.0.1:8080";

    /// <summary>
    /// What requests call the base model. Null, the default, is the name that it was loaded by; for a directory, the directory's.
    /// </summary>
    public string? ModelName { get; init; }

    /// <summary>A directory of adapters, which is watched; null for none.</summary>
    public string? Adapters { get; init; }

    /// <summary>Load adapters from everywhere, and follow links out of <see cref="Adapters"/>.</summary>
    public bool AllowOutside { get; init; }

    /// <summary>
    /// Further names that requests may be sent to (their <c>Host</c>), such as that of a reverse proxy, where the server listens to its own
    /// machine alone and has no API key; <c>*</c> for any.
    /// </summary>
    public IReadOnlyList<string> AllowedHosts { get; init; } = [];

    /// <summary>What requests must give as their bearer token; null for nothing.</summary>
    public string? ApiKey { get; init; }

    /// <summary>Most bytes of a request's body.</summary>
    public long LargestBody { get; init; } = 4L << 20;

    /// <summary>How long requests that are being answered may take when the server is to stop.</summary>
    public TimeSpan Drain { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How much memory mixed adapters may take.</summary>
    public AdapterPoolOptions Pool { get; init; } = new();

    /// <summary>How much is done at once, and how much may wait.</summary>
    public SchedulerOptions Scheduler { get; init; } = new();

    /// <summary>Is told what the person at the keyboard should know: adapters that are refused, and faults of the server.</summary>
    public Action<string>? Log { get; init; }

    /// <summary>Checks what can be checked before anything is opened.</summary>
    /// <exception cref="NolaException">A value is none.</exception>
    internal Uri Check()
    {
        if (!Uri.TryCreate(Url, UriKind.Absolute, out Uri? address) || address.Scheme != Uri.UriSchemeHttp || address.PathAndQuery != "/")
            throw new NolaException($"{Quoted.Of(Url)} is no address to listen at; expected one such as http://127.0.0.1:8080.");
        if (Drain < TimeSpan.Zero || Drain > TimeSpan.FromDays(1)) throw new NolaException($"Drain is {Drain}; expected 0 to one day.");
        if (AllowedHosts.FirstOrDefault(name => name != "*" && Uri.CheckHostName(name) == UriHostNameType.Unknown) is { } host)
            throw new NolaException($"{Quoted.Of(host)} is no name of a host that can be allowed; expected one without a port.");
        if (Pool.MixedMemory < 0)
            throw new NolaException($"The memory for mixed adapters is {Pool.MixedMemory} bytes; expected 0 or more.");
        if (ApiKey is { Length: 0 }) throw new NolaException("The API key is empty; give one, or none.");
        if (ModelName is { } name && (name.Length == 0 || name != NolaException.OneLine(name)))
            throw new NolaException($"{Quoted.Of(name)} cannot be the name of a model.");
        return address;
    }
}
