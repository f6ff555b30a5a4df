using System.Diagnostics;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Nola.Models;

namespace Nola.Serve;

/// <summary>What all requests share.</summary>
/// <param name="options">How the model is served.</param>
/// <param name="models">The names that can be asked for.</param>
/// <param name="scheduler">What generates.</param>
/// <param name="meter">What is counted.</param>
internal sealed class ServerState(ServeOptions options, ServedModels models, Scheduler scheduler, ServerMeter meter)
{
    /// <summary>How the model is served.</summary>
    public ServeOptions Options { get; } = options;

    /// <summary>The names that can be asked for.</summary>
    public ServedModels Models { get; } = models;

    /// <summary>The base model.</summary>
    public LanguageModel Model => Models.Model;

    /// <summary>What generates.</summary>
    public Scheduler Scheduler { get; } = scheduler;

    /// <summary>What is counted.</summary>
    public ServerMeter Meter { get; } = meter;

    /// <summary>When the server began, in seconds since 1970.</summary>
    public long Started { get; } = DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    /// <summary>Is told of faults.</summary>
    public void Log(string line) => Options.Log?.Invoke(line);

    /// <summary>The JSON of a request's body.</summary>
    /// <exception cref="ApiException">It is too large, or none.</exception>
    public Task<JsonDocument> ReadAsync(HttpContext context) => RequestBody.ReadAsync(context.Request, Options.LargestBody);

    /// <summary>Begins to do a job, and says so to who traces requests.</summary>
    /// <param name="job">What is asked.</param>
    /// <param name="operation">What OpenTelemetry calls it: <c>chat</c> or <c>text_completion</c>.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="SchedulerFullException">There is no room for it.</exception>
    public (GenerationRun Run, Activity? Activity) Start(GenerationJob job, string operation, CancellationToken cancel)
    {
        Activity? activity = ServerMeter.Source.StartActivity($"{operation} {job.Target.Name}");
        try
        {
            activity?.SetTag("gen_ai.operation.name", operation).SetTag("gen_ai.provider.name", "nola")
                .SetTag("gen_ai.request.model", job.Target.Name).SetTag("gen_ai.usage.input_tokens", job.PromptTokens)
                .SetTag("nola.adapter.fingerprint", job.Target.Adapter?.Fingerprint);
            return (new GenerationRun(Scheduler, job, cancel), activity);
        }
        catch (Exception error)
        {
            activity?.SetStatus(ActivityStatusCode.Error, error.Message).Dispose();
            throw;
        }
    }
}
