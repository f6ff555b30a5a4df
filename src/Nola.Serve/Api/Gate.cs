using System.Diagnostics;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Nola.Serve;

/// <summary>
/// What every request passes: it must be one that this server is meant to answer, and whatever happens, its answer is an answer and is
/// counted.
/// </summary>
internal sealed class Gate(ServerState state)
{
    // Nginx's number for a client that did not wait.
    private const int ClientGone = 499;

    // What tells nothing of what is served, or cannot send a key.
    private static readonly string[] open = ["/", "/health", "/openapi.json"];

    private readonly byte[]? key = state.Options.ApiKey is { } given ? Digest(given) : null;

    // Whoever reaches this machine's own address is answered.
    private readonly bool isOpenHere = state.Options.ApiKey is null && IsHere(new Uri(state.Options.Url).Host);

    /// <summary>Lets a request pass.</summary>
    public async Task PassAsync(HttpContext context, RequestDelegate next)
    {
        long began = Stopwatch.GetTimestamp();
        bool gone = false;
        try
        {
            Check(context.Request);
            await next(context).ConfigureAwait(false);
            await NameMissingAsync(context).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            gone = true;
        }
        catch (OperationCanceledException)
        {
            // The connection was found to be gone while it was written to.
            gone = true;
            context.Abort();
        }
        catch (Exception error)
        {
            gone = !await TryAnswerAsync(context, error).ConfigureAwait(false);
        }
        string path = (context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText ?? "other";
        state.Meter.Count(path, gone ? ClientGone : context.Response.StatusCode, Stopwatch.GetElapsedTime(began));
    }

    private async Task<bool> TryAnswerAsync(HttpContext context, Exception error)
    {
        try
        {
            await ErrorResponse.WriteAsync(context, ErrorResponse.Of(error, state.Log)).ConfigureAwait(false);
            return true;
        }
        catch (Exception failed) when (failed is OperationCanceledException or IOException)
        {
            return false;
        }
    }

    private void Check(HttpRequest request)
    {
        // A page of another site that a browser shows must not use a server that only its own machine reaches.
        if (request.Headers.Origin is [{ Length: > 0 } origin] && !IsOwn(origin, request))
            throw new ApiException(403, "Requests from pages of other sites are not answered.") { Code = "cross_origin" };
        // Nor may its site's name be turned to this machine, which would make the page look like one of this server.
        if (isOpenHere && !IsHere(request.Host.Host) && !IsAllowed(request.Host.Host))
            throw new ApiException(
                403,
                $"The request is for {Tensors.Quoted.Of(request.Host.Host)}, and this server is for its own machine; send it to 127.0.0.1 "
                + "or localhost, or allow that name where the server is started (AllowedHosts).")
            {
                Code = "other_host",
            };
        if (key is null || open.Contains(request.Path.Value)) return;
        const string Scheme = "Bearer ";
        string? given = request.Headers.Authorization is [{ } header] && header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase)
            ? header[Scheme.Length..].Trim()
            : null;
        if (given is null || !CryptographicOperations.FixedTimeEquals(Digest(given), key))
            throw new ApiException(401, given is null
                ? "The API key is missing; send it as 'Authorization: Bearer KEY'."
                : "The API key is not the one of this server.")
            {
                Code = "invalid_api_key",
            };
    }

    private static bool IsOwn(string origin, HttpRequest request) =>
        Uri.TryCreate(origin, UriKind.Absolute, out Uri? from) && from.Authority == request.Host.Value;

    private static bool IsHere(string host) => host.Length == 0 || host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
        || (IPAddress.TryParse(host, out IPAddress? address) && IPAddress.IsLoopback(address));

    private bool IsAllowed(string host) =>
        state.Options.AllowedHosts.Any(name => name == "*" || name.Equals(host, StringComparison.OrdinalIgnoreCase));

    private static byte[] Digest(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));

    // What routing alone has answered, without a word.
    private static async Task NameMissingAsync(HttpContext context)
    {
        HttpResponse response = context.Response;
        if (response.HasStarted || response.StatusCode is not (404 or 405)) return;
        (string method, string path) = (context.Request.Method, context.Request.Path.Value ?? "");
        string message = response.StatusCode == 404
            ? $"There is no {Tensors.Quoted.Of(path)} here; GET /openapi.json says what there is."
            : $"{Tensors.Quoted.Of(path)} does not know the method {Tensors.Quoted.Of(method)}.";
        // The methods that it knows stay named.
        string allow = response.Headers.Allow.ToString();
        await ErrorResponse.WriteAsync(context, new(response.StatusCode, message) { Code = "unknown_url" }, allow).ConfigureAwait(false);
    }
}
