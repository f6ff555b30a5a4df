using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Nola.Serve;

/// <summary>
/// What the server counts and traces beside what the scheduler does, under the usual names of .NET: any exporter can read it.
/// </summary>
internal sealed class ServerMeter : IDisposable
{
    /// <summary>The name of the server's meter and of its activities.</summary>
    public const string Name = "Nola.Serve";

    private readonly Counter<long> requests;
    private readonly Histogram<double> duration;

    /// <summary>Begins to count at nothing.</summary>
    public ServerMeter()
    {
        Meter = new(Name);
        requests = Meter.CreateCounter<long>("nola.http.requests", null, "Requests that were answered, by path and status");
        duration = Meter.CreateHistogram<double>("nola.http.request_duration", "s", "From the request to the end of its answer");
    }

    /// <summary>Traces requests for texts.</summary>
    public static ActivitySource Source { get; } = new(Name);

    /// <summary>What is counted.</summary>
    public Meter Meter { get; }

    /// <summary>Counts a request.</summary>
    /// <param name="path">Its path as the API knows it, never as it was sent.</param>
    /// <param name="status">Its status; 499 where the client did not wait for the answer.</param>
    /// <param name="took">How long it took.</param>
    public void Count(string path, int status, TimeSpan took)
    {
        requests.Add(1, new("path", path), new KeyValuePair<string, object?>("status", status));
        duration.Record(took.TotalSeconds, new KeyValuePair<string, object?>("path", path));
    }

    /// <inheritdoc/>
    public void Dispose() => Meter.Dispose();
}
