using System.Text.Json;
using Nola.Models;
using Xunit;

namespace Nola.Serve.Tests;

/// <summary>Completions and chats, by their raw JSON.</summary>
[Collection(ServerCollection.Name)]
public sealed class CompletionTests(ServerFixture fixture)
{
    private const int Tokens = 24;

    private const string Context = ServerFixture.Context;

    private readonly Api api = fixture.Api;
    private readonly Reference reference = fixture.Reference;

    public static TheoryData<string?> Models => new(null, "alpha", "beta", "runs/gamma", "lora");

    [Theory]
    [MemberData(nameof(Models))]
    public async Task Greedy_answers_are_those_of_the_library(string? adapter)
    {
        string? file = adapter is null ? null : fixture.PathOf(adapter);
        string model = adapter ?? "nola-tiny", expected = reference.Answer(Context, file, Tokens);
        Assert.NotEqual("", expected);
        Assert.Equal(expected, await api.ChatAsync(model, Context, Tokens));
        Assert.Equal(expected, await api.CompleteAsync(model, Context, Tokens, "context"));
        Assert.Equal(reference.Continue(Context, file, Tokens).Text, await api.CompleteAsync(model, Context, Tokens));
        Assert.Equal(reference.Continue(Context, file, Tokens).Text,
            await api.CompleteAsync(model, reference.Tokenizer.EncodePrompt(Context), Tokens));
        if (adapter is not null) Assert.Equal(expected, await api.ChatAsync($"nola-tiny:{adapter}", Context, Tokens));
        if (adapter is not null) Assert.NotEqual(reference.Answer(Context, null, Tokens), expected);
    }

    [Fact]
    public async Task Many_clients_at_once_get_what_each_alone_gets()
    {
        string[] models = ["nola-tiny", "alpha", "beta", "runs/gamma", "lora"];
        (string Model, string Prompt)[] asked =
            [.. Enumerable.Range(0, 40).Select(i => (models[i % 5], $"name : Place {i % 8} | food : Thai"))];
        string[] answers = await Task.WhenAll(asked.Select(a => api.ChatAsync(a.Model, a.Prompt, 12)));
        for (int i = 0; i < asked.Length; i++)
        {
            string? file = asked[i].Model == "nola-tiny" ? null : fixture.PathOf(asked[i].Model);
            Assert.Equal(reference.Answer(asked[i].Prompt, file, 12), answers[i]);
        }
    }

    [Fact]
    public async Task A_stream_says_what_the_whole_answer_says()
    {
        object Request(bool stream) => new
        {
            model = "alpha",
            prompt = new[] { Context, "name : The Punter", "The" },
            n = 2,
            max_tokens = Tokens,
            temperature = 0.9,
            seed = 11,
            logprobs = 3,
            echo = true,
            stop = new[] { " the", "zzz" },
            stream,
            stream_options = stream ? new { include_usage = true } : null,
        };
        JsonElement whole = await api.PostAsync("/v1/completions", Request(false));
        JsonElement[] events = await api.StreamAsync("/v1/completions", Request(true));
        Assert.Single(events.Select(e => e.GetProperty("id").GetString()).Distinct());
        Assert.Equal(0, events[^1].GetProperty("choices").GetArrayLength());
        Assert.Equal(Used(whole), Used(events[^1]));
        foreach (JsonElement choice in whole.GetProperty("choices").EnumerateArray())
        {
            JsonElement[] parts = [.. events.SelectMany(e => e.GetProperty("choices").EnumerateArray())
                .Where(part => part.GetProperty("index").GetInt32() == choice.GetProperty("index").GetInt32())];
            Assert.Equal(choice.GetProperty("text").GetString(), string.Concat(parts.Select(part => part.GetProperty("text").GetString())));
            foreach (string list in (string[])["tokens", "token_logprobs", "top_logprobs", "text_offset"])
                Assert.Equal(
                    choice.GetProperty("logprobs").GetProperty(list).EnumerateArray().Select(v => v.ToString()),
                    parts.Select(part => part.GetProperty("logprobs")).Where(l => l.ValueKind == JsonValueKind.Object)
                        .SelectMany(l => l.GetProperty(list).EnumerateArray()).Select(v => v.ToString()));
            Assert.Equal(choice.GetProperty("finish_reason").GetString(), parts[^1].GetProperty("finish_reason").GetString());
            Assert.All(parts[..^1], part => Assert.Equal(JsonValueKind.Null, part.GetProperty("finish_reason").ValueKind));
        }
    }

    [Fact]
    public async Task A_chat_that_is_streamed_begins_with_its_role_and_ends_with_its_reason()
    {
        object request = new
        {
            model = "beta",
            messages = new[] { new { role = "user", content = Context } },
            max_completion_tokens = Tokens,
            temperature = 0,
            stream = true,
            stream_options = new { include_usage = true },
        };
        JsonElement[] events = await api.StreamAsync("/v1/chat/completions", request);
        JsonElement[] choices = [.. events[..^1].Select(e => Assert.Single(e.GetProperty("choices").EnumerateArray()))];
        Assert.Equal("assistant", choices[0].GetProperty("delta").GetProperty("role").GetString());
        Assert.All(choices[1..], choice => Assert.False(choice.GetProperty("delta").TryGetProperty("role", out _)));
        string text = string.Concat(choices.Select(c => c.GetProperty("delta"))
            .Select(delta => delta.TryGetProperty("content", out JsonElement content) ? content.GetString() : ""));
        Assert.Equal(reference.Answer(Context, fixture.PathOf("beta"), Tokens), text);
        Assert.Contains(choices[^1].GetProperty("finish_reason").GetString(), (string[])["stop", "length"]);
        Assert.Equal(0, events[^1].GetProperty("choices").GetArrayLength());
        Assert.InRange(events[^1].GetProperty("usage").GetProperty("completion_tokens").GetInt32(), 1, Tokens);
        Assert.All(events, e => Assert.Equal("chat.completion.chunk", e.GetProperty("object").GetString()));
    }

    [Fact]
    public async Task Sampling_draws_what_the_library_draws_with_the_same_seed()
    {
        GenerateOptions options = new() { Temperature = 0.8f, TopP = 0.9f, TopK = 40, Seed = 5 };
        string[] expected = [.. Enumerable.Range(0, 3).Select(s =>
            reference.Continue("The", fixture.PathOf("alpha"), Tokens, options with { FirstSequence = s }).Text)];
        JsonElement answer = await api.PostAsync("/v1/completions", new
        {
            model = "alpha",
            prompt = "The",
            max_tokens = Tokens,
            temperature = 0.8,
            top_p = 0.9,
            top_k = 40,
            seed = 5,
            n = 3,
        });
        Assert.Equal(expected, answer.GetProperty("choices").EnumerateArray().Select(choice => choice.GetProperty("text").GetString()));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("runs/gamma")]
    public async Task Echoed_prompts_have_the_probabilities_of_the_model(string? adapter)
    {
        int[] prompt = reference.Tokenizer.EncodePrompt("The Punter is a café near the river.");
        JsonElement choice = (await api.PostAsync("/v1/completions", new
        {
            model = adapter ?? "nola-tiny",
            prompt,
            max_tokens = 1,
            logprobs = 1,
            echo = true,
            temperature = 0,
        })).GetProperty("choices")[0];
        JsonElement logprobs = choice.GetProperty("logprobs");
        double?[] own = [.. logprobs.GetProperty("token_logprobs").EnumerateArray()
            .Select(v => v.ValueKind == JsonValueKind.Null ? (double?)null : v.GetDouble())];
        JsonElement[] top = [.. logprobs.GetProperty("top_logprobs").EnumerateArray()];
        string[] texts = [.. logprobs.GetProperty("tokens").EnumerateArray().Select(v => v.GetString()!)];
        Assert.Equal(prompt.Length + 1, own.Length);
        Assert.Equal((prompt.Length + 1, prompt.Length + 1), (top.Length, texts.Length));
        Assert.Null(own[0]);
        Assert.Equal(JsonValueKind.Null, top[0].ValueKind);
        (double Own, double Likeliest)[] expected = reference.Logprobs(prompt, adapter is null ? null : fixture.PathOf(adapter));
        for (int i = 1; i < own.Length; i++)
        {
            double[] values = [.. top[i].EnumerateObject().Select(p => p.Value.GetDouble())];
            // The chosen one is among them with the identical number, by which harnesses know what is greedy.
            Assert.Equal(own[i], top[i].GetProperty(texts[i]).GetDouble());
            if (i == prompt.Length) break;
            Assert.Equal(expected[i - 1].Own, own[i]!.Value, 1e-4);
            Assert.Equal(expected[i - 1].Likeliest, values.Max(), 1e-4);
        }
        Assert.Equal(own[^1], top[^1].EnumerateObject().Max(p => p.Value.GetDouble()));
    }

    [Fact]
    public async Task Text_offsets_count_characters_from_the_beginning_of_the_prompt()
    {
        const string Prompt = "Café 🍜 naïve";
        JsonElement choice = (await api.PostAsync("/v1/completions", new
        {
            model = "alpha",
            prompt = Prompt,
            max_tokens = 8,
            logprobs = 0,
            echo = true,
            temperature = 0,
        })).GetProperty("choices")[0];
        int[] ids = reference.Tokenizer.EncodePrompt(Prompt);
        int[] offsets = [.. choice.GetProperty("logprobs").GetProperty("text_offset").EnumerateArray().Select(v => v.GetInt32())];
        Assert.StartsWith(Prompt, choice.GetProperty("text").GetString());
        for (int i = 0; i < ids.Length; i++)
        {
            // What is complete before the token, in code points.
            string before = reference.Tokenizer.Decode(ids[..i]).TrimEnd('\uFFFD');
            Assert.Equal(before.EnumerateRunes().Count(), offsets[i]);
        }
        Assert.Equal(12, Prompt.EnumerateRunes().Count());
        Assert.Equal(12, offsets[ids.Length]);
        Assert.All(choice.GetProperty("logprobs").GetProperty("top_logprobs").EnumerateArray().Skip(1),
            top => Assert.Single(top.EnumerateObject()));
    }

    [Fact]
    public async Task No_new_token_gives_the_prompt_alone()
    {
        JsonElement choice = (await api.PostAsync("/v1/completions", new
        {
            model = "nola-tiny",
            prompt = "The Punter",
            max_tokens = 0,
            logprobs = 1,
            echo = true,
        })).GetProperty("choices")[0];
        Assert.Equal("The Punter", choice.GetProperty("text").GetString());
        Assert.Equal("length", choice.GetProperty("finish_reason").GetString());
        int tokens = reference.Tokenizer.EncodePrompt("The Punter").Length;
        Assert.Equal(tokens, choice.GetProperty("logprobs").GetProperty("tokens").GetArrayLength());
    }

    [Fact]
    public async Task Chats_tell_log_probabilities_with_bytes()
    {
        JsonElement choice = (await api.PostAsync("/v1/chat/completions", new
        {
            model = "alpha",
            messages = new[] { new { role = "user", content = Context } },
            max_tokens = 6,
            temperature = 0,
            logprobs = true,
            top_logprobs = 2,
        })).GetProperty("choices")[0];
        foreach (JsonElement token in choice.GetProperty("logprobs").GetProperty("content").EnumerateArray())
        {
            JsonElement[] top = [.. token.GetProperty("top_logprobs").EnumerateArray()];
            Assert.Equal(2, top.Length);
            // Greedily the likeliest is the chosen one.
            Assert.Equal(token.GetProperty("logprob").GetDouble(), top[0].GetProperty("logprob").GetDouble());
            Assert.Equal(token.GetProperty("token").GetString(), top[0].GetProperty("token").GetString());
            Assert.Equal(token.GetProperty("bytes").ToString(), top[0].GetProperty("bytes").ToString());
        }
    }

    [Fact]
    public async Task A_bias_of_100_chooses_its_token_and_a_stop_ends_before_itself()
    {
        int id = reference.Tokenizer.Encode(" pub")[0];
        JsonElement answer = await api.PostAsync("/v1/completions", new
        {
            model = "beta",
            prompt = "The",
            max_tokens = 5,
            temperature = 0,
            logit_bias = new Dictionary<string, int> { [$"{id}"] = 100 },
        });
        string text = reference.Tokenizer.Decode([id]);
        Assert.Equal(string.Concat(Enumerable.Repeat(text, 5)), answer.GetProperty("choices")[0].GetProperty("text").GetString());
        Assert.Equal("length", answer.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        string whole = reference.Continue("The", null, 20).Text, stop = whole[5..9];
        JsonElement stopped = await api.PostAsync("/v1/completions", new
        {
            model = "nola-tiny",
            prompt = "The",
            max_tokens = 20,
            temperature = 0,
            stop,
        });
        JsonElement ended = stopped.GetProperty("choices")[0];
        Assert.Equal(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], ended.GetProperty("text").GetString());
        Assert.Equal("stop", ended.GetProperty("finish_reason").GetString());
    }

    [Fact]
    public async Task A_client_that_goes_away_frees_its_place()
    {
        long before = fixture.Server.Scheduler.Statistics.Canceled;
        Task busy = api.BusyAsync();
        while (fixture.Server.Scheduler.Statistics.Running < 15) await Task.Delay(5);
        using HttpRequestMessage message = new(HttpMethod.Post, "/v1/completions")
        {
            Content = Api.Json(JsonSerializer.Serialize(new
            {
                model = "alpha",
                prompt = "The",
                max_tokens = 1000,
                ignore_eos = true,
                stream = true,
            })),
        };
        using (HttpResponseMessage answer = await api.Http.SendAsync(message, HttpCompletionOption.ResponseHeadersRead))
            await (await answer.Content.ReadAsStreamAsync()).ReadExactlyAsync(new byte[100]);
        await busy;
        for (int i = 0; i < 300 && fixture.Server.Scheduler.Statistics is var now && (now.Canceled == before || now.Running > 0); i++)
            await Task.Delay(10);
        Assert.Equal(before + 1, fixture.Server.Scheduler.Statistics.Canceled);
        Assert.Equal(0, fixture.Server.Scheduler.Statistics.Running);
    }

    private static (int, int) Used(JsonElement answer)
    {
        JsonElement usage = answer.GetProperty("usage");
        return (usage.GetProperty("prompt_tokens").GetInt32(), usage.GetProperty("completion_tokens").GetInt32());
    }
}
