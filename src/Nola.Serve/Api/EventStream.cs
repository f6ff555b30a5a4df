using System.Buffers;
using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace Nola.Serve;

/// <summary>
/// An answer by server-sent events: <c>data: JSON</c>, each ended by an empty line and sent at once, the last one <c>data: [DONE]</c>.
/// </summary>
internal sealed class EventStream
{
    private readonly PipeWriter body;
    private readonly CancellationToken cancel;

    /// <summary>Begins the answer.</summary>
    public EventStream(HttpContext context)
    {
        (body, cancel) = (context.Response.BodyWriter, context.RequestAborted);
        context.Response.ContentType = "text/event-stream; charset=utf-8";
        context.Response.Headers.CacheControl = "no-cache";
        // Proxies that gather small pieces leave this answer alone.
        context.Response.Headers["X-Accel-Buffering"] = "no";
    }

    /// <summary>Sends an event.</summary>
    /// <exception cref="OperationCanceledException">The client has gone.</exception>
    public Task SendAsync<T>(T value, JsonTypeInfo<T> type) => SendAsync(JsonSerializer.SerializeToUtf8Bytes(value, type));

    /// <summary>
    /// Sends what <paramref name="send"/> does, and that this was all. The answer has begun with a good status, so that an error is one
    /// more event, the last.
    /// </summary>
    /// <param name="send">Sends the events.</param>
    /// <param name="log">Is told of faults of the server.</param>
    /// <exception cref="OperationCanceledException">The client has gone.</exception>
    public async Task GuardAsync(Func<Task> send, Action<string> log)
    {
        try
        {
            await send().ConfigureAwait(false);
        }
        catch (Exception error) when (!cancel.IsCancellationRequested && error is not OperationCanceledException)
        {
            await SendAsync(ErrorResponse.Body(ErrorResponse.Of(error, log)), ServeJson.Wire.ErrorBody).ConfigureAwait(false);
        }
        await SendAsync("[DONE]"u8.ToArray()).ConfigureAwait(false);
    }

    private async Task SendAsync(ReadOnlyMemory<byte> data)
    {
        body.Write("data: "u8);
        body.Write(data.Span);
        body.Write("\n\n"u8);
        FlushResult sent = await body.FlushAsync(cancel).ConfigureAwait(false);
        // A connection that is gone takes everything without a word.
        if (sent.IsCompleted) throw new OperationCanceledException();
    }
}
