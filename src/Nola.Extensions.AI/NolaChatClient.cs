using System.Runtime.CompilerServices;
using Microsoft.Extensions.AI;
using Nola.Models;
using Nola.Tensors;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;

namespace Nola.Extensions.AI;

/// <summary>
/// A chat client in this process. <see cref="ChatOptions.ModelId"/> names an adapter, or the base model; without one the client's own
/// answers. A model without a chat template reads what it is asked as the context of a task. Thread-safe.
/// </summary>
/// <param name="host">The model and its adapters, which the client does not dispose.</param>
/// <param name="adapter">The adapter that answers where a request names none; null for the base model.</param>
public sealed class NolaChatClient(NolaHost host, string? adapter = null) : IChatClient
{
    private readonly ChatClientMetadata metadata = new("nola", null, adapter ?? host.Names.Base);

    /// <inheritdoc/>
    public Task<ChatResponse> GetResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    /// <inheritdoc/>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ClientRequest request = ClientRequest.Of(host, adapter, messages, options);
        int generated = 0, cached = 0;
        AnswerText answer = new(request.Form.TrimsStart());
        await foreach (GeneratedToken token in host.Scheduler.GenerateAsync(request.Request, cancellationToken).ConfigureAwait(false))
        {
            if (token.Id >= 0) generated++;
            cached = token.CachedTokens;
            string text = answer.Add(token.Text);
            ChatFinishReason? reason = ReasonOf(token);
            if (text.Length > 0 || reason is not null) yield return Update(request, text.Length > 0 ? [new TextContent(text)] : [], reason);
        }
        yield return Update(request, [new UsageContent(request.Usage(generated, cached))], null);
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        if (serviceKey is not null) return null;
        if (serviceType == typeof(ChatClientMetadata)) return metadata;
        if (serviceType == typeof(NolaHost)) return host;
        return serviceType.IsInstanceOfType(this) ? this : null;
    }

    /// <summary>Does nothing: the model is the host's.</summary>
    public void Dispose()
    {
    }

    private static ChatResponseUpdate Update(ClientRequest request, IList<AIContent> contents, ChatFinishReason? reason) =>
        new(ChatRole.Assistant, contents)
        {
            ResponseId = request.Id,
            MessageId = request.Id,
            ModelId = request.Name,
            CreatedAt = request.Created,
            FinishReason = reason,
        };

    private static ChatFinishReason? ReasonOf(GeneratedToken token) => token.FinishReason switch
    {
        null => null,
        FinishReason.Stop => ChatFinishReason.Stop,
        _ => ChatFinishReason.Length,
    };
}
