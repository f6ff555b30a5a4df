using Microsoft.Extensions.AI;
using Microsoft.Extensions.AI.Evaluation;
using Microsoft.Extensions.DependencyInjection;
using Nola.Extensions.AI;
using Nola.Models;
using Nola.Tensors;
using Nola.Train.Metrics;
using Xunit;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;

namespace Nola.Serve.Tests;

/// <summary>Chat clients in this process, and metrics as evaluators.</summary>
public sealed class ExtensionsTests : IDisposable
{
    private const string Context = ServerFixture.Context;

    private const int Tokens = 16;

    private readonly string root = Directory.CreateTempSubdirectory("nola-host-").FullName;
    private readonly Reference reference = new();
    private readonly ServiceProvider services;

    public ExtensionsTests()
    {
        TestAdapters.Write(reference.Model, Path.Combine(root, "alpha.safetensors"), 1);
        TestAdapters.Write(reference.Model, Path.Combine(root, "beta.safetensors"), 2);
        services = new ServiceCollection().AddNola(new() { Device = "cpu", Threads = 1, Adapters = root }).BuildServiceProvider();
    }

    [Fact]
    public async Task Keys_are_adapters_and_model_ids_too()
    {
        IChatClient client = services.GetRequiredService<IChatClient>(), keyed = services.GetRequiredKeyedService<IChatClient>("beta");
        ChatOptions options = new() { MaxOutputTokens = Tokens };
        Assert.Equal(Expected(null), (await client.GetResponseAsync(Context, options)).Text);
        Assert.Equal(Expected("beta"), (await keyed.GetResponseAsync(Context, options)).Text);
        ChatResponse answer = await keyed.GetResponseAsync(Context, new() { MaxOutputTokens = Tokens, ModelId = "alpha" });
        Assert.Equal((Expected("alpha"), "alpha"), (answer.Text, answer.ModelId));
        ChatResponse plain = await keyed.GetResponseAsync(Context, new() { MaxOutputTokens = Tokens, ModelId = "nola-tiny" });
        Assert.Equal(Expected(null), plain.Text);
        Assert.Equal("beta", keyed.GetRequiredService<ChatClientMetadata>().DefaultModelId);
        Assert.Same(services.GetRequiredService<NolaHost>(), client.GetService<NolaHost>());
    }

    [Fact]
    public async Task Nobody_who_names_an_adapter_is_answered_by_the_base()
    {
        IChatClient client = services.GetRequiredService<IChatClient>();
        NolaException error = await Assert.ThrowsAsync<NolaException>(() => client.GetResponseAsync(Context, new() { ModelId = "nobody" }));
        Assert.Contains("'nobody'", error.Message);
        Assert.Throws<NolaException>(() => services.GetRequiredKeyedService<IChatClient>("nobody"));
    }

    [Fact]
    public async Task A_stream_has_the_whole_text_its_reason_and_its_usage()
    {
        IChatClient client = services.GetRequiredKeyedService<IChatClient>("alpha");
        ChatOptions options = new() { MaxOutputTokens = Tokens };
        List<ChatResponseUpdate> updates = await client.GetStreamingResponseAsync(Context, options).ToListAsync();
        Assert.True(updates.Count > 3);
        Assert.Single(updates.Select(update => update.ResponseId).Distinct());
        ChatResponse whole = updates.ToChatResponse(), atOnce = await client.GetResponseAsync(Context, options);
        Assert.Equal(Expected("alpha"), whole.Text);
        Assert.Equal(atOnce.FinishReason, whole.FinishReason);
        Assert.Equal(atOnce.Usage!.OutputTokenCount, whole.Usage!.OutputTokenCount);
        Assert.Equal(reference.Tokenizer.EncodeContext(Context).Length, whole.Usage.InputTokenCount);
    }

    [Fact]
    public async Task Many_threads_share_one_client_and_one_may_leave()
    {
        IChatClient client = services.GetRequiredService<IChatClient>();
        string?[] names = [null, "alpha", "beta"];
        Task<ChatResponse>[] asked = [.. Enumerable.Range(0, 24).Select(i => Task.Run(
            () => client.GetResponseAsync(Context, new() { ModelId = names[i % 3], MaxOutputTokens = Tokens })))];
        using CancellationTokenSource stop = new();
        Task<ChatResponse> left = client.GetResponseAsync(Context, new() { Seed = 1 }, stop.Token);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => left);
        ChatResponse[] answers = await Task.WhenAll(asked);
        for (int i = 0; i < answers.Length; i++) Assert.Equal(Expected(names[i % 3]), answers[i].Text);
    }

    [Fact]
    public async Task What_would_have_no_effect_is_refused()
    {
        IChatClient client = services.GetRequiredService<IChatClient>();
        foreach (ChatOptions options in new ChatOptions[]
        {
            new() { Tools = [AIFunctionFactory.Create(() => 1)] },
            new() { ResponseFormat = ChatResponseFormat.Json },
            new() { RawRepresentationFactory = _ => new object() },
            new() { Temperature = -1 },
        })
            await Assert.ThrowsAsync<NolaException>(() => client.GetResponseAsync(Context, options));
        ChatMessage image = new(ChatRole.User, [new DataContent(new byte[] { 1 }, "image/png")]);
        await Assert.ThrowsAsync<NolaException>(() => client.GetResponseAsync([image]));
        await Assert.ThrowsAsync<NolaException>(() => client.GetResponseAsync([new(ChatRole.User, "a"), new(ChatRole.Assistant, "b")]));
    }

    [Fact]
    public async Task Metrics_score_single_answers()
    {
        TextMetricsEvaluator evaluator = new(new() { Metrics = ["BLEU", "ROUGE_L"] });
        string[] references = ["The Punter is a pub near the river .", "Near the river there is a pub , The Punter ."];
        ChatResponse answer = new(new ChatMessage(ChatRole.Assistant, "The Punter is a pub by the river ."));
        EvaluationResult result = await evaluator.EvaluateAsync([], answer, additionalContext: [new ReferenceTexts(references)]);
        IReadOnlyList<Score> expected = Scorer.Score(
            new Corpus(["The Punter is a pub by the river ."], [references]), new() { Metrics = ["BLEU", "ROUGE_L"] });
        Assert.Equal(expected.Select(score => score.Metric), result.Metrics.Keys);
        Assert.Equal(expected.Select(score => (double?)score.Value), result.Metrics.Values.Select(metric => ((NumericMetric)metric).Value));
        await Assert.ThrowsAsync<NolaException>(() => evaluator.EvaluateAsync([], answer).AsTask());
    }

    public void Dispose()
    {
        services.Dispose();
        reference.Dispose();
        Directory.Delete(root, recursive: true);
    }

    private string Expected(string? adapter) =>
        reference.Answer(Context, adapter is null ? null : Path.Combine(root, adapter + ".safetensors"), Tokens);
}
