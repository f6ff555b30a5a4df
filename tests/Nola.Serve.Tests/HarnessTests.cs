using System.Text.Json;
using Nola.Models;
using Xunit;

namespace Nola.Serve.Tests;

/// <summary>
/// What lm-evaluation-harness 0.4.13.dev0 (commit 4e7e0d4) sent when its <c>local-completions</c>, with the server's own tokenizer, and
/// <c>local-chat-completions</c> ran against this server, with the answers read as the harness reads them; for the embedded model also
/// what the harness itself made of them.
/// </summary>
[Collection(ServerCollection.Name)]
public sealed class HarnessTests(ServerFixture fixture)
{
    private readonly Api api = fixture.Api;

    [Fact]
    public async Task Log_likelihoods_of_a_batch_are_the_models()
    {
        foreach (JsonElement recorded in Recorded("loglikelihood"))
        {
            JsonElement request = recorded.GetProperty("request");
            (_, JsonElement answer) = await api.SendAsync("/v1/completions", request.ToString());
            JsonElement[] choices = [.. answer.GetProperty("choices").EnumerateArray().OrderBy(c => c.GetProperty("index").GetInt32())];
            int[][] prompts = [.. request.GetProperty("prompt").EnumerateArray().Select(Ids)];
            int[] contexts = Ids(recorded.GetProperty("ctxlens"));
            Assert.Equal(prompts.Length, choices.Length);
            for (int i = 0; i < prompts.Length; i++)
            {
                string name = request.GetProperty("model").GetString()!;
                (double Own, double Likeliest)[] expected =
                    fixture.Reference.Logprobs(prompts[i], name == "nola-tiny" ? null : fixture.PathOf(name))[(contexts[i] - 1)..];
                (double sum, bool greedy) = Parse(choices[i], contexts[i]);
                Assert.Equal(expected.Sum(e => e.Own), sum, 1e-3);
                Assert.Equal(expected.All(e => e.Own == e.Likeliest), greedy);
                if (!recorded.TryGetProperty("results", out JsonElement results)) continue;
                // The vector units of the machine that recorded it add in another order than a narrower machine's.
                Assert.Equal(results[i][0].GetDouble(), sum, 1e-3);
                Assert.Equal(results[i][1].GetBoolean(), greedy);
            }
        }
    }

    [Fact]
    public async Task What_the_model_itself_says_is_greedy()
    {
        int[] context = fixture.Reference.Tokenizer.EncodePrompt("name : The Punter");
        int[] said = fixture.Reference.Continue(context, fixture.PathOf("beta"), 6).Ids;
        (_, JsonElement answer) = await api.SendAsync("/v1/completions", JsonSerializer.Serialize(new
        {
            model = "beta",
            prompt = new[] { (int[])[.. context, .. said] },
            temperature = 0,
            max_tokens = 1,
            logprobs = 1,
            seed = 1234,
            echo = true,
        }));
        Assert.True(Parse(answer.GetProperty("choices")[0], context.Length).Greedy);
    }

    [Fact]
    public async Task Generations_end_before_their_stops()
    {
        foreach (JsonElement recorded in Recorded("generate"))
        {
            JsonElement request = recorded.GetProperty("request");
            string name = request.GetProperty("model").GetString()!;
            string[] stops = [.. request.GetProperty("stop").EnumerateArray().Select(s => s.GetString()!)];
            (_, JsonElement answer) = await api.SendAsync("/v1/completions", request.ToString());
            JsonElement[] choices = [.. answer.GetProperty("choices").EnumerateArray()];
            int[][] prompts = [.. request.GetProperty("prompt").EnumerateArray().Select(Ids)];
            for (int i = 0; i < prompts.Length; i++)
            {
                string whole = fixture.Reference.Continue(
                    prompts[i], name == "nola-tiny" ? null : fixture.PathOf(name), request.GetProperty("max_tokens").GetInt32()).Text;
                int end = stops.Select(stop => whole.IndexOf(stop, StringComparison.Ordinal)).Where(at => at >= 0)
                    .DefaultIfEmpty(whole.Length).Min();
                Assert.Equal(whole[..end], choices.Single(c => c.GetProperty("index").GetInt32() == i).GetProperty("text").GetString());
            }
        }
    }

    [Fact]
    public async Task Chats_are_answered()
    {
        foreach (JsonElement recorded in Recorded("chat"))
        {
            (_, JsonElement answer) = await api.SendAsync("/v1/chat/completions", recorded.GetProperty("request").ToString());
            Assert.Equal(JsonValueKind.String, answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").ValueKind);
        }
    }

    // As LocalCompletionsAPI.parse_logprobs does.
    private static (double Sum, bool Greedy) Parse(JsonElement choice, int context)
    {
        JsonElement[] own = [.. choice.GetProperty("logprobs").GetProperty("token_logprobs").EnumerateArray()];
        JsonElement[] top = [.. choice.GetProperty("logprobs").GetProperty("top_logprobs").EnumerateArray()];
        double[] continuation = [.. own[context..^1].Select(v => v.GetDouble())];
        double[] likeliest = [.. top[context..^1].Select(t => t.EnumerateObject().Max(p => p.Value.GetDouble()))];
        return (continuation.Sum(), continuation.SequenceEqual(likeliest));
    }

    private static IEnumerable<JsonElement> Recorded(string kind) =>
        File.ReadLines(Path.Combine(AppContext.BaseDirectory, "data", "lm-eval.jsonl")).Select(line => JsonElement.Parse(line))
            .Where(line => line.GetProperty("kind").GetString() == kind);

    private static int[] Ids(JsonElement list) => [.. list.EnumerateArray().Select(v => v.GetInt32())];
}
