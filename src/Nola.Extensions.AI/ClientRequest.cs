using Microsoft.Extensions.AI;
using Nola.Models;
using Nola.Tensors;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;

namespace Nola.Extensions.AI;

/// <summary>What a call of a chat client asks of the scheduler.</summary>
/// <param name="Request">The request.</param>
/// <param name="Form">How the conversation was written as tokens.</param>
/// <param name="Name">What answers.</param>
internal sealed record ClientRequest(GenerateRequest Request, PromptForm Form, string Name)
{
    /// <summary>What the answer is called.</summary>
    public string Id { get; } = $"nola-{Guid.NewGuid():N}";

    /// <summary>When it was asked.</summary>
    public DateTimeOffset Created { get; } = DateTimeOffset.UtcNow;

    /// <summary>Reads a call.</summary>
    /// <exception cref="NolaException">There is no such adapter, or something is asked for that there is not.</exception>
    public static ClientRequest Of(NolaHost host, string? adapter, IEnumerable<ChatMessage> messages, ChatOptions? options)
    {
        ArgumentNullException.ThrowIfNull(messages);
        options ??= new();
        RefuseOthers(options);
        string name = options.ModelId ?? adapter ?? host.Names.Base;
        if (!host.Names.TryFind(name, out PooledAdapter? found))
            throw new NolaException($"There is no adapter {Quoted.Of(name)} beside the model {Quoted.Of(host.Names.Base)}.");
        List<Models.ChatMessage> conversation = [.. messages.Select(Message)];
        if (options.Instructions is { Length: > 0 } system) conversation.Insert(0, new(Models.ChatMessage.System, system));
        int[] prompt = host.Form.Encode(host.Model, conversation);
        GenerateOptions decoding = host.Form.Complete(host.Model, Decoding(options, host.Model.Shape.Positions));
        return new(new() { Prompt = prompt, Options = decoding, Adapter = found }, host.Form, name);
    }

    /// <summary>How many tokens.</summary>
    public UsageDetails Usage(int generated, int cached) => new()
    {
        InputTokenCount = Request.Prompt.Count,
        OutputTokenCount = generated,
        TotalTokenCount = Request.Prompt.Count + generated,
        CachedInputTokenCount = cached,
    };

    // What is drawn where nobody says how is the likeliest token each time, as in this library, and not a sample.
    private static GenerateOptions Decoding(ChatOptions options, int positions)
    {
        bool likeliest = options.Temperature == 0 || options.TopP == 0;
        return new()
        {
            MaxNewTokens = Math.Min(options.MaxOutputTokens ?? positions, positions),
            Temperature = likeliest ? 0 : options.Temperature,
            TopP = likeliest ? 1 : options.TopP ?? 1,
            TopK = likeliest ? 0 : options.TopK ?? 0,
            Seed = options.Seed is { } seed ? unchecked((ulong)seed) : null,
            PresencePenalty = options.PresencePenalty ?? 0,
            FrequencyPenalty = options.FrequencyPenalty ?? 0,
            StopStrings = [.. options.StopSequences ?? []],
        };
    }

    // What would have no effect is refused, since the answer would look like one that had it.
    private static void RefuseOthers(ChatOptions options)
    {
        if (options.Tools is { Count: > 0 }) throw Unsupported("tools");
        if (options.ResponseFormat is not (null or ChatResponseFormatText)) throw Unsupported("a response format other than text");
        if (options.RawRepresentationFactory is not null) throw Unsupported("a raw representation");
    }

    private static NolaException Unsupported(string what) =>
        new($"The options of the chat ask for {what}, which Nola does not support; leave it out.");

    private static Models.ChatMessage Message(ChatMessage message)
    {
        string role = message.Role.Value;
        if (!Models.ChatMessage.Roles.Contains(role))
            throw new NolaException(
                $"A message is the {Quoted.Of(role)}'s; expected one of {string.Join(", ", Models.ChatMessage.Roles)}.");
        if (message.Contents.FirstOrDefault(content => content is not (TextContent or UsageContent)) is { } other)
            throw new NolaException($"A message has {other.GetType().Name}; the model reads text only.");
        return new(role, message.Text);
    }
}
