using Microsoft.AspNetCore.Http;
using Nola.Models;

namespace Nola.Serve;

/// <summary><c>GET /v1/models</c>, <c>/v1/models/NAME</c>, <c>/health</c> and <c>/metrics</c>.</summary>
internal static class ListingEndpoints
{
    /// <summary>All models: the base, and the adapters on it; and beside them what could not be read.</summary>
    public static Task ModelsAsync(HttpContext context, ServerState state)
    {
        AdapterDirectory? directory = state.Models.Directory;
        IEnumerable<RefusedEntry> refused = (directory?.Refused ?? [])
            .Select(r => new RefusedEntry(r.Name, state.Models.Shown(r.Path), state.Models.WithoutRoot(r.Reason)));
        ModelEntry[] models = [Base(state), .. state.Models.Adapters.Select(adapter => Entry(adapter, state))];
        return JsonAnswer.WriteAsync(context.Response, new ModelList(models, [.. refused]), ServeJson.Wire.ModelList);
    }

    /// <summary>One model.</summary>
    public static Task ModelAsync(HttpContext context, ServerState state)
    {
        Target target = state.Models.Resolve((string)context.Request.RouteValues["name"]!);
        ModelEntry entry = target.Adapter is { } adapter ? Entry(adapter, state) : Base(state);
        return JsonAnswer.WriteAsync(context.Response, entry, ServeJson.Wire.ModelEntry);
    }

    /// <summary>Whether the server works, and what it is doing; 503 when it is to stop.</summary>
    public static Task HealthAsync(HttpContext context, ServerState state)
    {
        SchedulerStatistics now = state.Scheduler.Statistics;
        bool stops = state.Scheduler.IsDraining;
        if (stops) context.Response.StatusCode = 503;
        Health health = new(
            stops ? "stopping" : "ok", state.Models.BaseName, state.Models.Adapters.Count, state.Models.Directory?.Refused.Count ?? 0,
            now.Running, now.Waiting);
        return JsonAnswer.WriteAsync(context.Response, health, ServeJson.Wire.Health);
    }

    /// <summary>What is counted, as Prometheus reads it.</summary>
    public static Task MetricsAsync(HttpContext context, PrometheusText text)
    {
        context.Response.ContentType = PrometheusText.ContentType;
        return context.Response.WriteAsync(text.Write(), context.RequestAborted);
    }

    private static ModelEntry Base(ServerState state) =>
        new(state.Models.BaseName, state.Started, state.Models.BaseName, null, state.Model.Shape.Positions)
        {
            Fingerprint = state.Models.Fingerprint,
        };

    private static ModelEntry Entry(PooledAdapter adapter, ServerState state) =>
        new(
            adapter.Name, adapter.Added.ToUnixTimeSeconds(), state.Models.Shown(adapter.Path), state.Models.BaseName,
            state.Model.Shape.Positions)
        {
            Fingerprint = adapter.Fingerprint,
            Method = adapter.Method.Name,
            Bytes = adapter.Bytes,
        };
}
