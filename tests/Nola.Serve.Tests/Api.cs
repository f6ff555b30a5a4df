using System.Net;
using System.Net.Http.Headers;
using System.Net.ServerSentEvents;
using System.Text;
using System.Text.Json;
using Xunit;

namespace Nola.Serve.Tests;

/// <summary>A server's API as a client without a library uses it.</summary>
internal sealed class Api(Uri address, string? key = null) : IDisposable
{
    public HttpClient Http { get; } = Create(address, key);

    /// <summary>A request with a JSON body, and its answer.</summary>
    public async Task<(HttpStatusCode Status, JsonElement Body)> SendAsync(string path, string json)
    {
        using HttpResponseMessage answer = await Http.PostAsync(path, Json(json));
        return (answer.StatusCode, await BodyAsync(answer));
    }

    /// <summary>The answer to a good request.</summary>
    public async Task<JsonElement> PostAsync(string path, object request)
    {
        (HttpStatusCode status, JsonElement body) = await SendAsync(path, JsonSerializer.Serialize(request));
        Assert.True(status == HttpStatusCode.OK, body.ToString());
        return body;
    }

    /// <summary>The error of a bad request: its status, and OpenAI's object.</summary>
    public async Task<(int Status, string Message, string? Param, string? Code)> FailAsync(string path, object request) =>
        await FailAsync(path, request as string ?? JsonSerializer.Serialize(request));

    public async Task<(int Status, string Message, string? Param, string? Code)> FailAsync(string path, string json)
    {
        (HttpStatusCode status, JsonElement body) = await SendAsync(path, json);
        return Error(status, body);
    }

    public static (int Status, string Message, string? Param, string? Code) Error(HttpStatusCode status, JsonElement body)
    {
        Assert.True((int)status >= 400, body.ToString());
        JsonElement error = Assert.Single(body.EnumerateObject(), property => property.Name == "error").Value;
        Assert.Equal(["message", "type", "param", "code"], error.EnumerateObject().Select(property => property.Name));
        Assert.InRange(error.GetProperty("message").GetString()!.Length, 10, 500);
        Assert.NotNull(error.GetProperty("type").GetString());
        return ((int)status, error.GetProperty("message").GetString()!, error.GetProperty("param").GetString(),
            error.GetProperty("code").GetString());
    }

    public async Task<JsonElement> GetAsync(string path)
    {
        using HttpResponseMessage answer = await Http.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        return await BodyAsync(answer);
    }

    /// <summary>The events of a stream, which must end with [DONE].</summary>
    public async Task<JsonElement[]> StreamAsync(string path, object request)
    {
        using HttpRequestMessage message = new(HttpMethod.Post, path) { Content = Json(JsonSerializer.Serialize(request)) };
        using HttpResponseMessage answer = await Http.SendAsync(message, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("text/event-stream", answer.Content.Headers.ContentType!.MediaType);
        List<JsonElement> events = [];
        bool done = false;
        await foreach (SseItem<string> item in SseParser.Create(await answer.Content.ReadAsStreamAsync()).EnumerateAsync())
        {
            Assert.False(done);
            done = item.Data == "[DONE]";
            if (!done) events.Add(JsonElement.Parse(item.Data));
        }
        Assert.True(done);
        return [.. events];
    }

    /// <summary>The greedy text of a completion.</summary>
    public async Task<string> CompleteAsync(string model, object prompt, int tokens, string form = "raw") =>
        (await PostAsync("/v1/completions", new { model, prompt, max_tokens = tokens, temperature = 0, prompt_form = form }))
        .GetProperty("choices")[0].GetProperty("text").GetString()!;

    /// <summary>The greedy answer to a message.</summary>
    public async Task<string> ChatAsync(string model, string message, int tokens) =>
        (await PostAsync("/v1/chat/completions", new
        {
            model,
            messages = new[] { new { role = "user", content = message } },
            max_tokens = tokens,
            temperature = 0,
        })).GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;

    /// <summary>
    /// Fifteen long texts beside what a test asks: alone, a small model reaches its limit before it is noticed that a client went away.
    /// </summary>
    public Task<JsonElement> BusyAsync() => PostAsync(
        "/v1/completions", new { model = "nola-tiny", prompt = "The", n = 15, max_tokens = 500, temperature = 1, ignore_eos = true });

    public static StringContent Json(string json) => new(json, Encoding.UTF8, "application/json");

    public void Dispose() => Http.Dispose();

    private static async Task<JsonElement> BodyAsync(HttpResponseMessage answer)
    {
        Assert.Equal("application/json", answer.Content.Headers.ContentType?.MediaType);
        return JsonElement.Parse(await answer.Content.ReadAsStringAsync());
    }

    private static HttpClient Create(Uri address, string? key)
    {
        HttpClient client = new() { BaseAddress = address, Timeout = TimeSpan.FromSeconds(60) };
        if (key is not null) client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        return client;
    }
}
