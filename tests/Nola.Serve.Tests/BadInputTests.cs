using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Xunit;

namespace Nola.Serve.Tests;

/// <summary>Requests that cannot be answered: each gets one error in OpenAI's form, and the server goes on.</summary>
[Collection(ServerCollection.Name)]
public sealed class BadInputTests(ServerFixture fixture)
{
    private readonly Api api = fixture.Api;

    [Theory]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", """, 400, null, "invalid_json")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "prompt": "b"}""", 400, null, "invalid_json")]
    [InlineData("""{"model": "nola-tiny", "prompt": "\ud83d"}""", 400, null, "invalid_json")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "temperature": NaN}""", 400, null, "invalid_json")]
    [InlineData("", 400, null, "invalid_json")]
    [InlineData("[]", 400, null, null)]
    [InlineData("""{"prompt": "a"}""", 400, "model", "missing_required_parameter")]
    [InlineData("""{"model": 5, "prompt": "a"}""", 400, "model", "invalid_value")]
    [InlineData("""{"model": "nobody", "prompt": "a"}""", 404, "model", "model_not_found")]
    [InlineData("""{"model": "", "prompt": "a"}""", 404, "model", "model_not_found")]
    [InlineData("""{"model": "nola-tiny:", "prompt": "a"}""", 404, "model", "model_not_found")]
    [InlineData("""{"model": "nola-tiny:nobody", "prompt": "a"}""", 404, "model", "model_not_found")]
    [InlineData("""{"model": "alpha:nola-tiny", "prompt": "a"}""", 404, "model", "model_not_found")]
    [InlineData("""{"model": "../alpha", "prompt": "a"}""", 404, "model", "model_not_found")]
    [InlineData("""{"model": "runs/../alpha", "prompt": "a"}""", 404, "model", "model_not_found")]
    [InlineData("""{"model": "/etc/passwd", "prompt": "a"}""", 404, "model", "model_not_found")]
    [InlineData("""{"model": "broken", "prompt": "a"}""", 400, "model", "adapter_refused")]
    [InlineData("""{"model": "nola-tiny"}""", 400, "prompt", "missing_required_parameter")]
    [InlineData("""{"model": "nola-tiny", "prompt": []}""", 400, "prompt", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": [[]]}""", 400, "prompt[0]", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": [1, "a"]}""", 400, "prompt", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": ["a", 1]}""", 400, "prompt[1]", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": [1, -2]}""", 400, "prompt", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": [99999999]}""", 400, "prompt", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": {"text": "a"}}""", 400, "prompt", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "max_tokens": -1}""", 400, "max_tokens", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "max_tokens": 1.5}""", 400, "max_tokens", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "max_tokens": "5"}""", 400, "max_tokens", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "temperature": -0.1}""", 400, "temperature", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "temperature": 1e999}""", 400, "temperature", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "temperature": "NaN"}""", 400, "temperature", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "top_p": 1.1}""", 400, "top_p", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "top_k": -2}""", 400, "top_k", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "n": 0}""", 400, "n", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "n": 100000}""", 400, "n", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "best_of": 3}""", 400, "best_of", "unsupported_parameter")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "suffix": "b"}""", 400, "suffix", "unsupported_parameter")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "logprobs": 21}""", 400, "logprobs", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "echo": "yes"}""", 400, "echo", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "stop": [1]}""", 400, "stop", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "stop": ""}""", 400, "stop", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "logit_bias": {"x": 1}}""", 400, "logit_bias", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "logit_bias": {"1": 101}}""", 400, "logit_bias", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "presence_penalty": 3}""", 400, "presence_penalty", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "stream_options": {}}""", 400, "stream_options", "invalid_value")]
    [InlineData(
        """{"model": "nola-tiny", "prompt": "a", "stream": true, "stream_options": {"x": 1}}""", 400, "stream_options.x",
        "unknown_parameter")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "min_tokens": 20}""", 400, "min_tokens", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "prompt_form": "chat"}""", 400, "prompt_form", "invalid_value")]
    [InlineData("""{"model": "nola-tiny", "prompt": "a", "temprature": 0}""", 400, "temprature", "unknown_parameter")]
    [InlineData(
        """{"model": "nola-tiny", "prompt": "a", "response_format": {"type": "json_object"}}""", 400, "response_format",
        "unsupported_parameter")]
    public async Task A_completion_that_cannot_be(string json, int status, string? param, string? code)
    {
        (int Status, string Message, string? Param, string? Code) error = await api.FailAsync("/v1/completions", json);
        Assert.Equal((status, param, code), (error.Status, error.Param, error.Code));
    }

    [Theory]
    [InlineData("""{"model": "alpha"}""", "messages")]
    [InlineData("""{"model": "alpha", "messages": []}""", "messages")]
    [InlineData("""{"model": "alpha", "messages": ["a"]}""", "messages[0]")]
    [InlineData("""{"model": "alpha", "messages": [{"role": "user"}]}""", "messages[0].content")]
    [InlineData("""{"model": "alpha", "messages": [{"role": "robot", "content": "a"}]}""", "messages[0].role")]
    [InlineData("""{"model": "alpha", "messages": [{"role": "user", "content": "a", "x": 1}]}""", "messages[0].x")]
    [InlineData(
        """{"model": "alpha", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}""", "messages[0].content[0].type")]
    [InlineData(
        """{"model": "alpha", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}""", "messages")]
    [InlineData("""{"model": "alpha", "messages": [{"role": "user", "content": "a"}], "tools": [{}]}""", "tools")]
    [InlineData("""{"model": "alpha", "messages": [{"role": "user", "content": "a"}], "max_tokens": 0}""", "max_tokens")]
    [InlineData("""{"model": "alpha", "messages": [{"role": "user", "content": "a"}], "top_logprobs": 2}""", "top_logprobs")]
    [InlineData("""{"model": "alpha", "messages": [{"role": "user", "content": "a"}], "prompt": "a"}""", "prompt")]
    public async Task A_chat_that_cannot_be(string json, string param)
    {
        (int Status, string Message, string? Param, string? Code) error = await api.FailAsync("/v1/chat/completions", json);
        Assert.Equal((400, param), (error.Status, error.Param));
    }

    [Theory]
    [InlineData("/v1/completions")]
    [InlineData("/v1/chat/completions")]
    public async Task A_prompt_that_is_too_long_is_refused_with_the_limit(string path)
    {
        string text = string.Concat(Enumerable.Repeat(" food", 3000));
        object request = path.Contains("chat")
            ? new { model = "alpha", messages = new[] { new { role = "user", content = text } } }
            : new { model = "alpha", prompt = text };
        (int status, string message, string? param, string? code) = await api.FailAsync(path, request);
        Assert.Equal((400, "context_length_exceeded"), (status, code));
        Assert.Equal(path.Contains("chat") ? "messages" : "prompt", param);
        Assert.Contains($" {fixture.Reference.Model.Shape.Positions} tokens", message);
    }

    [Fact]
    public async Task The_longest_prompt_is_read_and_one_more_token_said()
    {
        int positions = fixture.Reference.Model.Shape.Positions;
        JsonElement answer = await api.PostAsync("/v1/completions", new
        {
            model = "nola-tiny",
            prompt = Enumerable.Repeat(5, positions),
            max_tokens = 10,
            temperature = 0,
            ignore_eos = true,
        });
        Assert.Equal("length", answer.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.Equal(1, answer.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        object longer = new { model = "nola-tiny", prompt = Enumerable.Repeat(5, positions + 1) };
        Assert.Equal(400, (await api.FailAsync("/v1/completions", longer)).Status);
    }

    [Fact]
    public async Task A_body_of_ten_megabytes_is_refused_and_the_connection_answered()
    {
        (int status, string message, _, string? code) =
            await api.FailAsync("/v1/completions", new { model = "alpha", prompt = new string('a', 10_000_000) });
        Assert.Equal((413, "request_too_large"), (status, code));
        Assert.Contains("4,194,304", message);
        Assert.NotEqual("", await api.CompleteAsync("alpha", "The", 3));
    }

    [Fact]
    public async Task Paths_and_methods_that_are_not_there_are_errors_of_the_same_form()
    {
        using HttpResponseMessage none = await api.Http.GetAsync("/v1/nothing");
        Assert.Equal(404, Api.Error(none.StatusCode, await Body(none)).Status);
        using HttpResponseMessage method = await api.Http.GetAsync("/v1/completions");
        Assert.Equal(405, Api.Error(method.StatusCode, await Body(method)).Status);
        Assert.Equal(["POST"], method.Content.Headers.Allow);
        using HttpResponseMessage model = await api.Http.GetAsync("/v1/models/nobody");
        Assert.Equal("model_not_found", Api.Error(model.StatusCode, await Body(model)).Code);
    }

    [Fact]
    public async Task A_page_of_another_site_is_not_answered()
    {
        foreach ((string origin, HttpStatusCode status) in new[]
        {
            ("https://example.org", HttpStatusCode.Forbidden),
            ("null", HttpStatusCode.Forbidden),
            (api.Http.BaseAddress!.ToString().TrimEnd('/'), HttpStatusCode.OK),
        })
        {
            using HttpRequestMessage request = new(HttpMethod.Post, "/tokenize") { Content = Api.Json("""{"prompt": "a"}""") };
            request.Headers.Add("Origin", origin);
            using HttpResponseMessage answer = await api.Http.SendAsync(request);
            Assert.Equal(status, answer.StatusCode);
        }
    }

    [Theory]
    [InlineData("localhost", HttpStatusCode.OK)]
    [InlineData("127.0.0.2:1234", HttpStatusCode.OK)]
    [InlineData("[::1]", HttpStatusCode.OK)]
    [InlineData("evil.example:8080", HttpStatusCode.Forbidden)]
    [InlineData("192.168.0.1", HttpStatusCode.Forbidden)]
    public async Task A_name_of_another_machine_is_not_answered(string host, HttpStatusCode status)
    {
        using HttpRequestMessage request = new(HttpMethod.Post, "/tokenize") { Content = Api.Json("""{"prompt": "a"}""") };
        request.Headers.Host = host;
        using HttpResponseMessage answer = await api.Http.SendAsync(request);
        Assert.Equal(status, answer.StatusCode);
    }

    [Fact]
    public async Task Connections_that_say_nothing_or_nonsense_hold_nobody_up()
    {
        Uri address = api.Http.BaseAddress!;
        using TcpClient silent = new(address.Host, address.Port), half = new(address.Host, address.Port);
        using TcpClient nonsense = new(address.Host, address.Port);
        await half.GetStream().WriteAsync("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"model\""u8.ToArray());
        await nonsense.GetStream().WriteAsync(Encoding.ASCII.GetBytes(new string('x', 4000) + "\r\n\r\n"));
        Assert.Equal(fixture.Reference.Answer("The", fixture.PathOf("alpha"), 5), await api.ChatAsync("alpha", "The", 5));
        byte[] answer = new byte[12];
        await nonsense.GetStream().ReadExactlyAsync(answer);
        Assert.Equal("HTTP/1.1 400", Encoding.ASCII.GetString(answer));
    }

    private static async Task<JsonElement> Body(HttpResponseMessage answer) => JsonElement.Parse(await answer.Content.ReadAsStringAsync());
}
