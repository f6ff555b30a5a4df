using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Serve.Tests;

/// <summary>A model with a chat template of its own: stories260K, to whose directory one is added.</summary>
public sealed class ChatTemplateTests : IDisposable
{
    // Zephyr's, in which the roles are text.
    private const string Turn = "{% for m in messages %}\n{{ '<|ROLE|>\\n' + message['content'] + eos_token }}\n{% endfor %}";

    private readonly string directory = Directory.CreateTempSubdirectory("nola-serve-").FullName;
    // The server's is its own while it runs.
    private readonly Device device = Device.Open("cpu", 1), other = Device.Open("cpu", 1);
    private LanguageModel? served;

    public ChatTemplateTests()
    {
        foreach (string file in Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "data", "stories260K")))
            File.Copy(file, Path.Combine(directory, Path.GetFileName(file)));
        File.WriteAllText(Path.Combine(directory, "tokenizer_config.json"), """{"legacy": false}""");
    }

    public void Dispose()
    {
        served?.Dispose();
        device.Dispose();
        other.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public async Task Messages_are_written_by_the_template_and_answered_as_offline()
    {
        WriteTemplate(string.Concat(ChatMessage.Roles.Select(role => Turn.Replace("ROLE", role, StringComparison.Ordinal))));
        using LanguageModel model = LanguageModel.Load(directory, device);
        ChatMessage[] talk =
        [
            new(ChatMessage.System, "Tell stories."), new(ChatMessage.User, "Who?"),
            new(ChatMessage.Assistant, "Tom."), new(ChatMessage.User, "And then?"),
        ];
        await using NolaServer server = await StartAsync();
        using Api api = new(server.Address);
        object request = new
        {
            model = "stories",
            messages = talk.Select(message => new { role = message.Role, content = message.Content }),
            max_tokens = 40,
            temperature = 0,
        };
        JsonElement answer = await api.PostAsync("/v1/chat/completions", request), choice = answer.GetProperty("choices")[0];
        int[] prompt = model.Chat.EncodePrompt(talk);
        Assert.Equal(
            "<|system|>\nTell stories.\n<|user|>\nWho?\n<|assistant|>\nTom.\n<|user|>\nAnd then?\n<|assistant|>\n",
            model.Tokenizer.Decode(prompt));
        string expected = Answer(model, prompt);
        Assert.Equal(expected, choice.GetProperty("message").GetProperty("content").GetString());
        Assert.Equal(prompt.Length, answer.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());

        JsonElement[] events = await api.StreamAsync("/v1/chat/completions", WithStream(request));
        Assert.Equal(expected, string.Concat(events.Select(Delta)));
        // A text is continued as it stands, and tells the template only when it is asked to.
        JsonElement plain = await api.PostAsync(
            "/v1/completions", new { model = "stories", prompt = "Who?", max_tokens = 20, temperature = 0 });
        string continued = Answer(model, model.Tokenizer.EncodePrompt("Who?"), 20);
        Assert.Equal(continued, plain.GetProperty("choices")[0].GetProperty("text").GetString());
        JsonElement info = await api.GetAsync("/tokenizer_info");
        Assert.Equal("Zephyr", info.GetProperty("chat_format").GetString());
    }

    [Fact]
    public async Task A_template_that_is_not_known_is_an_error_of_chats_alone()
    {
        WriteTemplate("{{ messages | tojson }}");
        List<string> log = [];
        await using NolaServer server = await StartAsync(log);
        using Api api = new(server.Address);
        Assert.Contains(log, line => line.Contains("this chat template is not known", StringComparison.Ordinal));
        object chat = new { model = "stories", messages = new[] { new { role = "user", content = "Hi" } }, max_tokens = 2 };
        (int status, string message, _, _) = await api.FailAsync("/v1/chat/completions", chat);
        Assert.Equal(400, status);
        Assert.Contains("this chat template is not known", message);
        JsonElement plain = await api.PostAsync("/v1/completions", new { model = "stories", prompt = "Hi", max_tokens = 2 });
        Assert.NotEmpty(plain.GetProperty("choices")[0].GetProperty("text").GetString()!);
    }

    private void WriteTemplate(string text) => File.WriteAllText(Path.Combine(directory, "chat_template.jinja"), text);

    private Task<NolaServer> StartAsync(List<string>? log = null)
    {
        served = LanguageModel.Load(directory, other);
        return NolaServer.StartAsync(served, new() { Url = "http://127.0.0.1:0", ModelName = "stories", Log = line => log?.Add(line) });
    }

    private static string Answer(LanguageModel model, int[] prompt, int tokens = 40)
    {
        int[] ids = model.Generate(prompt, null, new() { MaxNewTokens = tokens });
        IncrementalDecoder decoder = new(model.Tokenizer);
        return decoder.AddAll(ids.Where(id => !model.StopTokens.Contains(id))) + decoder.End();
    }

    private static object WithStream(object request)
    {
        Dictionary<string, object?> all = JsonSerializer.Deserialize<Dictionary<string, object?>>(JsonSerializer.Serialize(request))!;
        all["stream"] = true;
        return all;
    }

    private static string Delta(JsonElement item) =>
        item.GetProperty("choices") is { } choices && choices.GetArrayLength() > 0
            && choices[0].GetProperty("delta").TryGetProperty("content", out JsonElement content) ? content.GetString() ?? "" : "";
}
