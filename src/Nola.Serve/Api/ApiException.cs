namespace Nola.Serve;

/// <summary>A request that is refused: what its client is told, in the form of OpenAI's API.</summary>
/// <param name="status">The HTTP status.</param>
/// <param name="message">One sentence for the client.</param>
internal sealed class ApiException(int status, string message) : Exception(message)
{
    /// <summary>The code by which clients know a model that is not there.</summary>
    public const string ModelNotFound = "model_not_found";

    /// <summary>The HTTP status.</summary>
    public int Status { get; } = status;

    /// <summary>The field of the request that is to blame; null for none.</summary>
    public string? Param { get; init; }

    /// <summary>What programs know the error by; null for none.</summary>
    public string? Code { get; init; }

    /// <summary>When to try again; null where that does not help.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>The kind of error, as OpenAI names it.</summary>
    public string Type => Status switch
    {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        >= 500 => "server_error",
        _ => "invalid_request_error",
    };

    /// <summary>A field with a value that is none.</summary>
    public static ApiException Bad(string? param, string message, string? code = null) => new(400, message) { Param = param, Code = code };
}
