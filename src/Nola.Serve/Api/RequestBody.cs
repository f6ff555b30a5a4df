using System.Buffers;
using System.IO.Pipelines;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary>Reads the body of a request: one JSON value of bounded size.</summary>
internal static class RequestBody
{
    /// <summary>
    /// What is read and thrown away of a body that is too large, so that its client has sent it all when it is told; above it the
    /// connection is cut.
    /// </summary>
    public const long MostDiscarded = 64L << 20;

    /// <summary>The whole body, parsed.</summary>
    /// <param name="request">The request.</param>
    /// <param name="largest">Most bytes.</param>
    /// <exception cref="ApiException">It is too large, or not valid JSON.</exception>
    public static async Task<JsonDocument> ReadAsync(HttpRequest request, long largest)
    {
        byte[]? bytes = await ReadBytesAsync(request.BodyReader, largest, request.HttpContext.RequestAborted).ConfigureAwait(false);
        if (bytes is null)
            throw new ApiException(413, $"The body has more than {largest:N0} bytes, the most that this server reads; send less at once.")
            {
                Code = "request_too_large",
            };
        try
        {
            return JsonInput.Parse(bytes, "The body");
        }
        catch (NolaException error)
        {
            throw ApiException.Bad(null, error.Message, "invalid_json");
        }
    }

    // Null where there is more than the limit; the rest is read all the same.
    private static async Task<byte[]?> ReadBytesAsync(PipeReader reader, long largest, CancellationToken cancel)
    {
        ArrayBufferWriter<byte> body = new();
        bool fits = true;
        while (true)
        {
            ReadResult result = await reader.ReadAsync(cancel).ConfigureAwait(false);
            fits &= body.WrittenCount + result.Buffer.Length <= largest;
            if (fits)
                foreach (ReadOnlyMemory<byte> part in result.Buffer) body.Write(part.Span);
            else body.ResetWrittenCount();
            reader.AdvanceTo(result.Buffer.End);
            if (result.IsCompleted) return fits ? body.WrittenMemory.ToArray() : null;
        }
    }
}
