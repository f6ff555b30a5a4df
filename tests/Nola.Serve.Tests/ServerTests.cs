using System.Diagnostics;
using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Serve.Tests;

/// <summary>What there is beside the texts: lists, tokens, keys, numbers, the document and the page.</summary>
[Collection(ServerCollection.Name)]
public sealed class ServerTests(ServerFixture fixture)
{
    private readonly Api api = fixture.Api;

    [Fact]
    public async Task Models_are_the_base_and_its_adapters()
    {
        JsonElement list = await api.GetAsync("/v1/models");
        JsonElement[] models = [.. list.GetProperty("data").EnumerateArray()];
        Assert.Equal(["nola-tiny", "alpha", "beta", "lora", "runs/gamma"], models.Select(m => m.GetProperty("id").GetString()));
        Assert.Equal(JsonValueKind.Null, models[0].GetProperty("parent").ValueKind);
        Assert.All(models[1..], m => Assert.Equal("nola-tiny", m.GetProperty("parent").GetString()));
        Assert.Equal(["nola", "nola", "lora", "nola"], models[1..].Select(m => m.GetProperty("method").GetString()));
        JsonElement refused = Assert.Single(list.GetProperty("refused").EnumerateArray());
        Assert.Equal(("broken", "broken.safetensors"), (refused.GetProperty("id").GetString(), refused.GetProperty("path").GetString()));
        Assert.Contains(fixture.Log, line => line.StartsWith("Without broken: "));
        Assert.Equal("runs/gamma", (await api.GetAsync("/v1/models/runs/gamma")).GetProperty("id").GetString());
    }

    [Fact]
    public async Task Texts_become_tokens_and_tokens_texts()
    {
        const string Text = "The café 🍜";
        JsonElement tokens = await api.PostAsync("/tokenize", new { model = "alpha", prompt = Text, return_token_strs = true });
        int[] ids = [.. tokens.GetProperty("tokens").EnumerateArray().Select(v => v.GetInt32())];
        Assert.Equal(fixture.Reference.Tokenizer.EncodePrompt(Text), ids);
        Assert.Equal(ids.Length, tokens.GetProperty("count").GetInt32());
        Assert.Contains(tokens.GetProperty("token_strs").EnumerateArray(), v => v.GetString()!.StartsWith("bytes:\\x"));
        Assert.Equal(Text, (await api.PostAsync("/detokenize", new { tokens = ids })).GetProperty("prompt").GetString());
        JsonElement info = await api.GetAsync("/tokenizer_info");
        Assert.Equal(fixture.Reference.Model.Shape.Positions, info.GetProperty("model_max_length").GetInt32());
        string? name = info.GetProperty("eos_token").GetString();
        JsonElement end = await api.PostAsync("/tokenize", new { prompt = name, add_special_tokens = false });
        Assert.Equal(info.GetProperty("eos_token_id").GetInt32(), end.GetProperty("tokens")[0].GetInt32());
        Assert.Equal(1, end.GetProperty("count").GetInt32());
        Assert.Equal("tokens", (await api.FailAsync("/detokenize", new { tokens = new[] { 1 << 30 } })).Param);
    }

    [Fact]
    public async Task Metrics_are_what_Prometheus_reads()
    {
        await api.CompleteAsync("alpha", "The", 5);
        string text = await api.Http.GetStringAsync("/metrics");
        Assert.All(text.TrimEnd('\n').Split('\n'), line => Assert.Matches(
            """^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? (\d|\+Inf|-)[0-9.E+-]*)$""", line));
        Assert.True(Value("nola_generated_tokens_total") >= 5);
        Assert.True(Value("""nola_requests_total{outcome="completed"}""") >= 1);
        Assert.True(Value("nola_pool_misses_total") >= 1);
        Assert.Equal(4, Value("nola_pool_adapters"));
        Assert.Equal(0, Value("nola_waiting"));
        Assert.True(Value("""nola_time_to_first_token_seconds_bucket{le="+Inf"}""") >= 1);
        Assert.Equal(Value("nola_time_to_first_token_seconds_count"), Value("""nola_time_to_first_token_seconds_bucket{le="+Inf"}"""));
        Assert.True(Value("""nola_http_requests_total{path="/v1/completions",status="200"}""") >= 1);

        double Value(string series) => double.Parse(
            Regex.Match(text, $"^{Regex.Escape(series)} (.+)$", RegexOptions.Multiline).Groups[1].Value);
    }

    [Fact]
    public async Task Health_says_what_is_going_on()
    {
        JsonElement health = await api.GetAsync("/health");
        Assert.Equal(("ok", 4, 1), (health.GetProperty("status").GetString(), health.GetProperty("adapters").GetInt32(),
            health.GetProperty("refused").GetInt32()));
    }

    [Fact]
    public async Task Requests_are_traced()
    {
        List<Activity> ended = [];
        using ActivityListener listener = new()
        {
            ShouldListenTo = source => source.Name == "Nola.Serve",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = activity =>
            {
                lock (ended) ended.Add(activity);
            },
        };
        ActivitySource.AddActivityListener(listener);
        await api.ChatAsync("alpha", "traced", 3);
        // It ends a moment after its answer.
        for (int i = 0; i < 200 && !Chats().Any(); i++) await Task.Delay(10);
        Activity chat = Assert.Single(Chats());
        Assert.Equal("alpha", chat.GetTagItem("gen_ai.request.model"));
        Assert.InRange((int)chat.GetTagItem("gen_ai.usage.output_tokens")!, 1, 3);

        Activity[] Chats()
        {
            lock (ended) return [.. ended.Where(activity => activity.DisplayName == "chat alpha")];
        }
    }

    [Fact]
    public async Task The_document_describes_every_path_and_every_field_that_is_read()
    {
        JsonElement document = await api.GetAsync("/openapi.json");
        string[] routes = [.. fixture.Server.Routes.Select(path => path.Replace("**", "")).Order()];
        Assert.Equal(routes, document.GetProperty("paths").EnumerateObject().Select(path => path.Name).Order());
        JsonElement schemas = document.GetProperty("components").GetProperty("schemas");
        // What it says that a completion may have is known; a value that is none shows that it is read.
        foreach (JsonProperty field in schemas.GetProperty("CompletionRequest").GetProperty("properties").EnumerateObject())
        {
            Dictionary<string, object> request = new() { ["model"] = "alpha", ["prompt"] = "a" };
            if (field.Name == "stream_options") request["stream"] = true;
            request[field.Name] = new { x = new[] { 1 } };
            (int status, _, string? param, string? code) = await api.FailAsync("/v1/completions", request);
            Assert.True(status == 400 && param!.StartsWith(field.Name), field.Name);
            Assert.True(code != "unknown_parameter" || param == "stream_options.x", field.Name);
        }
    }

    [Fact]
    public async Task The_page_is_there_and_talks_to_nobody_else()
    {
        using HttpResponseMessage answer = await api.Http.GetAsync("/");
        string page = await answer.Content.ReadAsStringAsync();
        Assert.Equal("text/html", answer.Content.Headers.ContentType!.MediaType);
        Assert.Contains("connect-src 'self'", answer.Headers.GetValues("Content-Security-Policy").Single());
        Assert.DoesNotMatch("https?://", page);
    }

    [Fact]
    public async Task An_API_key_is_asked_for()
    {
        using Device device = Device.Open("cpu", 1);
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        ServeOptions options = new() { Url = "http://localhost:0", ApiKey = "secret", ModelName = "base" };
        await using NolaServer server = await NolaServer.StartAsync(model, options);
        using Api none = new(server.Address), wrong = new(server.Address, "secret2"), right = new(server.Address, "secret");
        object request = new { model = "base", prompt = "The", max_tokens = 1 };
        Assert.Equal((401, "invalid_api_key"), Short(await none.FailAsync("/v1/completions", request)));
        Assert.Equal((401, "invalid_api_key"), Short(await wrong.FailAsync("/v1/completions", request)));
        using HttpResponseMessage metrics = await none.Http.GetAsync("/metrics");
        Assert.Equal(HttpStatusCode.Unauthorized, metrics.StatusCode);
        await right.PostAsync("/v1/completions", request);
        await none.GetAsync("/health");
        Assert.Equal(403, (await right.FailAsync("/v1/load_lora_adapter", new { lora_name = "a", lora_path = "b" })).Status);
        Assert.Equal("model_not_found", (await right.FailAsync("/v1/completions", new { model = "a", prompt = "b" })).Code);

        static (int, string?) Short((int Status, string Message, string? Param, string? Code) error) => (error.Status, error.Code);
    }

    [Fact]
    public async Task A_full_queue_says_when_to_come_again_and_stopping_answers_what_was_asked()
    {
        using Device device = Device.Open("cpu", 1);
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        NolaServer server = await NolaServer.StartAsync(
            model, new() { Url = "http://127.0.0.1:0", Scheduler = new() { MaxRunning = 1, MaxQueue = 2 } });
        using Api api = new(server.Address);
        // As long as the model can, so that the queue stays full while it is asked.
        object request = new { model = "nola-tiny", prompt = "The", max_tokens = 510, temperature = 0, ignore_eos = true };
        Task<JsonElement> running = api.PostAsync("/v1/completions", request);
        while (server.Scheduler.Statistics.Running == 0) await Task.Delay(5);
        Task<JsonElement>[] waiting = [.. Enumerable.Range(0, 2).Select(_ => api.PostAsync("/v1/completions", request))];
        while (server.Scheduler.Statistics.Waiting < 2) await Task.Delay(5);
        using HttpResponseMessage refused = await api.Http.PostAsync("/v1/completions", Api.Json(JsonSerializer.Serialize(request)));
        Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
        Assert.InRange(refused.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 1, 60);
        Assert.Equal(429, (await api.FailAsync("/v1/completions", new { model = "nola-tiny", prompt = new[] { "a", "b" } })).Status);
        // What would never find room is not worth another try.
        Assert.Equal(400, (await api.FailAsync("/v1/completions", new { model = "nola-tiny", prompt = new[] { "a", "b", "c" } })).Status);
        Task stop = server.StopAsync();
        JsonElement[] answers = await Task.WhenAll([running, .. waiting]);
        Assert.Single(answers.Select(answer => answer.GetProperty("choices")[0].GetProperty("text").GetString()).Distinct());
        await stop;
        await Assert.ThrowsAsync<HttpRequestException>(() => api.Http.GetAsync("/health"));
        await server.DisposeAsync();
    }

    [Fact]
    public async Task An_address_that_is_taken_is_one_sentence()
    {
        using Device device = Device.Open("cpu", 1);
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        NolaException error = await Assert.ThrowsAsync<NolaException>(
            () => NolaServer.StartAsync(model, new() { Url = api.Http.BaseAddress!.ToString() }));
        Assert.Contains("choose another port", error.Message);
        await Assert.ThrowsAsync<NolaException>(() => NolaServer.StartAsync(model, new() { Url = "ftp://a" }));
        await Assert.ThrowsAsync<NolaException>(() => NolaServer.StartAsync(model, new() { Adapters = "/no/such/directory" }));
    }
}
