using System.ClientModel;
using Microsoft.Extensions.AI;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Models;
using Xunit;
using ChatFinishReason = Microsoft.Extensions.AI.ChatFinishReason;

namespace Nola.Serve.Tests;

/// <summary>The official client of .NET, and Microsoft.Extensions.AI on top of it, against the running server.</summary>
[Collection(ServerCollection.Name)]
public sealed class ClientTests(ServerFixture fixture)
{
    private const int Tokens = 20;

    private const string Context = ServerFixture.Context;

    private string Expected(string? adapter) => fixture.Reference.Answer(Context, adapter is null ? null : fixture.PathOf(adapter), Tokens);

    private OpenAIClientOptions Options => new() { Endpoint = new Uri(fixture.Server.Address, "v1") };

    private ChatClient Client(string model) => new(model, new ApiKeyCredential("none"), Options);

    [Theory]
    [InlineData("nola-tiny", null)]
    [InlineData("alpha", "alpha")]
    [InlineData("nola-tiny:runs/gamma", "runs/gamma")]
    public async Task The_official_client_is_answered(string model, string? adapter)
    {
        ChatCompletionOptions options = new()
        {
            Temperature = 0,
            MaxOutputTokenCount = Tokens,
            IncludeLogProbabilities = true,
            TopLogProbabilityCount = 2,
        };
        OpenAI.Chat.ChatCompletion answer = await Client(model).CompleteChatAsync([new UserChatMessage(Context)], options);
        Assert.Equal(Expected(adapter), answer.Content[0].Text);
        Assert.Equal(model, answer.Model);
        Assert.Equal(ChatMessageRole.Assistant, answer.Role);
        Assert.InRange(answer.Usage.OutputTokenCount, 1, Tokens);
        Assert.Equal(answer.Usage.TotalTokenCount, answer.Usage.InputTokenCount + answer.Usage.OutputTokenCount);
        Assert.Equal(answer.Usage.OutputTokenCount, answer.ContentTokenLogProbabilities.Count);
        Assert.All(answer.ContentTokenLogProbabilities, token => Assert.Equal(2, token.TopLogProbabilities.Count));
        Assert.InRange(answer.CreatedAt, DateTimeOffset.UtcNow.AddMinutes(-5), DateTimeOffset.UtcNow.AddMinutes(5));
    }

    [Fact]
    public async Task The_official_client_is_answered_piece_by_piece()
    {
        ChatCompletionOptions options = new() { Temperature = 0, MaxOutputTokenCount = Tokens };
        List<string> pieces = [];
        ChatTokenUsage? usage = null;
        OpenAI.Chat.ChatFinishReason? reason = null;
        await foreach (StreamingChatCompletionUpdate update in
            Client("beta").CompleteChatStreamingAsync([new UserChatMessage(Context)], options))
        {
            pieces.AddRange(update.ContentUpdate.Select(part => part.Text));
            (usage, reason) = (update.Usage ?? usage, update.FinishReason ?? reason);
        }
        Assert.Equal(Expected("beta"), string.Concat(pieces));
        Assert.True(pieces.Count > 3);
        Assert.NotNull(reason);
        Assert.InRange(usage!.OutputTokenCount, 1, Tokens);
    }

    [Fact]
    public async Task The_official_client_cancels()
    {
        long before = fixture.Server.Scheduler.Statistics.Canceled;
        Task busy = fixture.Api.BusyAsync();
        while (fixture.Server.Scheduler.Statistics.Running < 15) await Task.Delay(5);
        using CancellationTokenSource stop = new();
        // The same token again and again, which only the model's limit would end.
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            ChatCompletionOptions options = new() { LogitBiases = { [5] = 100 } };
            await foreach (StreamingChatCompletionUpdate update in
                Client("alpha").CompleteChatStreamingAsync([new UserChatMessage(Context)], options, stop.Token))
                if (update.ContentUpdate.Count > 0) await stop.CancelAsync();
        });
        await busy;
        Assert.Equal(before + 1, fixture.Server.Scheduler.Statistics.Canceled);
    }

    [Fact]
    public async Task The_official_client_is_told_of_errors()
    {
        ClientResultException error = await Assert.ThrowsAsync<ClientResultException>(
            () => Client("nobody").CompleteChatAsync([new UserChatMessage(Context)]));
        Assert.Equal(404, error.Status);
        Assert.Contains("model_not_found", error.Message);
        OpenAIModelClient models = new(new ApiKeyCredential("none"), Options);
        OpenAIModelCollection all = await models.GetModelsAsync();
        Assert.Contains("runs/gamma", all.Select(model => model.Id));
        Assert.Equal("nola", (await models.GetModelAsync("alpha")).Value.OwnedBy);
    }

    [Fact]
    public async Task Microsoft_Extensions_AI_is_answered_at_once_and_piece_by_piece()
    {
        using IChatClient client = Client("nola-tiny").AsIChatClient();
        ChatOptions options = new() { ModelId = "alpha", Temperature = 0, MaxOutputTokens = Tokens, Seed = 3 };
        ChatResponse answer = await client.GetResponseAsync(Context, options);
        Assert.Equal(Expected("alpha"), answer.Text);
        Assert.Contains(answer.FinishReason, (ChatFinishReason?[])[ChatFinishReason.Stop, ChatFinishReason.Length]);
        Assert.InRange(answer.Usage!.OutputTokenCount!.Value, 1, Tokens);
        ChatResponse streamed = await client.GetStreamingResponseAsync(Context, options).ToChatResponseAsync();
        Assert.Equal(answer.Text, streamed.Text);
        Assert.Equal(answer.Usage.TotalTokenCount, streamed.Usage!.TotalTokenCount);
        Assert.Equal(answer.FinishReason, streamed.FinishReason);
    }
}
