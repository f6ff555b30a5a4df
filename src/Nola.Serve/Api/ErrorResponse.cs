using System.Globalization;
using Microsoft.AspNetCore.Http;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary>Answers a request that failed, in the form of OpenAI's API.</summary>
internal static class ErrorResponse
{
    /// <summary>What a client is told of an error.</summary>
    /// <param name="error">What happened.</param>
    /// <param name="log">Is told of faults of the server, which the client is told nothing of.</param>
    public static ApiException Of(Exception error, Action<string> log)
    {
        switch (error)
        {
            case ApiException known:
                return known;
            case SchedulerFullException full:
                return new(429, full.Message) { Code = "queue_full", RetryAfter = full.RetryAfter };
            case ObjectDisposedException:
                return new(503, "The server is stopping.") { Code = "stopping", RetryAfter = TimeSpan.FromSeconds(1) };
            case BadHttpRequestException http:
                return new(http.StatusCode, NolaException.OneLine(http.Message));
            case GenerationFailedException { InnerException: NolaException } failed:
                log($"a request failed while it was continued: {failed.Message}");
                return new(500, failed.Message) { Code = "generation_failed" };
            case GenerationFailedException { InnerException: { } fault }:
                return Of(fault, log);
            case NolaException known:
                return new(400, known.Message);
            default:
                log($"internal error ({error.GetType().Name}: {error.Message}) at {error.StackTrace}");
                return new(500, "The server failed at this request; its log says where.") { Code = "internal_error" };
        }
    }

    /// <summary>The body of an error.</summary>
    public static ErrorBody Body(ApiException error) => new(new ErrorDetail(error.Message, error.Type, error.Param, error.Code));

    /// <summary>Writes the answer; where one has begun, the connection is cut, so that nobody takes it for a whole one.</summary>
    /// <param name="context">The request.</param>
    /// <param name="error">What its client is told.</param>
    /// <param name="allow">The methods that the path knows; empty where they were not the trouble.</param>
    public static async Task WriteAsync(HttpContext context, ApiException error, string allow = "")
    {
        HttpResponse response = context.Response;
        if (response.HasStarted)
        {
            context.Abort();
            return;
        }
        response.Clear();
        response.StatusCode = error.Status;
        if (error.RetryAfter is { } after)
            response.Headers.RetryAfter = Math.Max(1, (int)Math.Ceiling(after.TotalSeconds)).ToString(CultureInfo.InvariantCulture);
        if (allow.Length > 0) response.Headers.Allow = allow;
        if (error.Status == 401) response.Headers.WWWAuthenticate = "Bearer";
        await JsonAnswer.WriteAsync(response, Body(error), ServeJson.Wire.ErrorBody).ConfigureAwait(false);
    }
}
