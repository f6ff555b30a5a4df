using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// A trained model from its own files to English: stories260K (karpathy/tinyllamas, MIT) against llama2.c's run.c
/// (data/golden/stories260K).
/// </summary>
public sealed class Stories260KTests : IDisposable
{
    private static readonly string place = Path.Combine(AppContext.BaseDirectory, "data", "golden", "stories260K");
    private static readonly JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(place, "case.json"))).RootElement;

    private static readonly string[] files = ["config.json", "model.safetensors", "tokenizer.model"];

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void Its_tokens_and_logits_are_those_of_llama2c()
    {
        using LanguageModel model = LanguageModel.Load(place, device);
        using Safetensors expected = Safetensors.Open(Path.Combine(place, "expected.safetensors"));
        int i = 0;
        foreach (JsonElement sequence in golden.GetProperty("sequences").EnumerateArray())
        {
            int[] ids = TinyModels.Ids(sequence.GetProperty("ids"));
            Assert.Equal(ids, model.Tokenizer.EncodeContext(sequence.GetProperty("text").GetString()!));
            // Logits are up to about ten; run.c computes in float32.
            OpCheck.Close(OpCheck.Wide(expected.ReadFinite(expected.Get($"logits.{i++}"))), model.Logits(ids), 1e-3);
        }
        Assert.Equal(3, i);
        Assert.Equal([2], model.StopTokens);
    }

    [Fact]
    public void It_tells_the_stories_that_llama2c_tells()
    {
        using LanguageModel model = LanguageModel.Load(place, device);
        foreach (JsonElement greedy in golden.GetProperty("greedy").EnumerateArray())
        {
            string text = greedy.GetProperty("text").GetString()!;
            int[] prompt = TinyModels.Ids(greedy.GetProperty("prompt")), wanted = TinyModels.Ids(greedy.GetProperty("continuation"));
            Assert.Equal(prompt, model.Tokenizer.EncodePrompt(text));
            int[] said = model.Generate(prompt, null, new() { MaxNewTokens = wanted.Length });
            Assert.Equal(wanted, said);
        }
    }

    [Fact]
    public void The_tool_tells_a_story_in_words()
    {
        // Until the token that begins the next story.
        string all = golden.GetProperty("run_c_text").GetString()!;
        string[] arguments = ["generate", "--model", place, "--raw", "--prompt", "", "--max-new", "150"];
        (int code, string streamed, string error) = Tool.Run(arguments);
        Assert.True(code == 0, error);
        Assert.StartsWith(streamed.TrimEnd('\n'), all);
        Assert.StartsWith("Once upon a time, there was a little girl named Lily.", streamed);
        Assert.Equal(streamed.TrimEnd('\n'), Assert.Single(Tool.Json(arguments)).GetProperty("text").GetString());
        // What continues a prompt keeps its space.
        string[] onward = ["generate", "--model", place, "--raw", "--prompt", "Once upon", "--max-new", "12"];
        Assert.StartsWith(" a time, there was", Tool.Run(onward).Output);
    }

    [Fact]
    public void Nola_learns_a_sentence_on_it()
    {
        TextPair[] said =
            [new("Say hello.", "The red dog and the blue cat sang to the moon."), new("Say more.", "They ate a big green cake.")];
        TextPairs pairs = new(said, "test");
        using LanguageModel model = LanguageModel.Load(place, device);
        using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 8, Bases = 64, Targets = ["*"] });
        EncodedPair[] encoded = PairEncoder.EncodeFor(model, pairs);
        ITokenizer tokenizer = model.Tokenizer;
        Assert.Equal([1, .. tokenizer.Encode("Say hello.")], encoded[0].Context);
        Assert.Equal([.. tokenizer.Encode("The red dog and the blue cat sang to the moon."), 2], encoded[0].Completion);
        double before = Evaluation.Loss(model, encoded, adapter).Loss;
        new Trainer(model, adapter, new() { MaxSteps = 40, LearningRate = 0.05f, WarmupSteps = 2 }).Run(encoded, []);
        double after = Evaluation.Loss(model, encoded, adapter).Loss;
        Assert.True(after < before - 1.5, $"{before} → {after}");
    }

    [Fact]
    public void The_tool_talks_in_the_models_own_form()
    {
        string talks = Path.Combine(directory, "talks"), data = Path.Combine(directory, "data.jsonl"), run = Path.Combine(directory, "run");
        Directory.CreateDirectory(talks);
        foreach (string name in files) File.Copy(Path.Combine(place, name), Path.Combine(talks, name));
        const string Template = "{% for m in messages %}\n{{ '<|ROLE|>\\n' + message['content'] + eos_token }}\n{% endfor %}";
        string template = string.Concat(ChatMessage.Roles.Select(role => Template.Replace("ROLE", role)));
        File.WriteAllText(Path.Combine(talks, "chat_template.jinja"), template);
        // Without it, as in the first version, a space is put before every part between control tokens.
        File.WriteAllText(Path.Combine(talks, "tokenizer_config.json"), """{"legacy": false}""");
        File.WriteAllText(data, """
            {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "The red dog sang."}]}
            {"instruction": "Say it.", "output": "The blue cat ate."}
            """);
        using LanguageModel model = LanguageModel.Load(talks, device);
        EncodedPair[] pairs = PairEncoder.EncodeFor(model, TextPairs.Read(data), chat: true);
        Assert.Equal("<|user|>\nWho?\n<|assistant|>\n", model.Tokenizer.Decode(pairs[0].Context));
        Assert.Equal("The red dog sang.", model.Tokenizer.Decode(pairs[0].Completion));
        Assert.Equal(2, pairs[0].Completion[^1]);
        Assert.Equal(2, pairs[0].Context.Count(id => id == 2) + pairs[1].Context.Count(id => id == 2));
        double loss = Assert.Single(Tool.Json("loss", "--model", talks, "--pairs", data, "--chat")).GetProperty("loss").GetDouble();
        Assert.Equal(Evaluation.Loss(model, pairs).Loss, loss, 1e-4);
        string[] train =
            ["train", "--model", talks, "--data", data, "--chat", "--out", run, "--method", "lora", "--rank", "8", "--targets", "*"];
        JsonElement trained = Assert.Single(Tool.Json([.. train, "--max-steps", "60", "--lr", "0.01", "--warmup", "2"]));
        Assert.Equal(60, trained.GetProperty("steps").GetInt32());
        string adapter = Path.Combine(run, "adapter.safetensors");
        string[] ask = ["generate", "--model", talks, "--adapter", adapter, "--chat"];
        // Sixty steps teach it the words, and not yet where to end.
        Assert.StartsWith("The red dog sang.", Tool.Run([.. ask, "--prompt", "Who?", "--max-new", "20"]).Output);
        // Without --chat it is another text.
        Assert.NotEqual(loss, Assert.Single(Tool.Json("loss", "--model", talks, "--pairs", data)).GetProperty("loss").GetDouble(), 0.05);
        JsonElement[] lines = Tool.Json([.. ask, "--prompts", data, "--max-new", "30"]);
        Assert.StartsWith("The red dog sang.", lines[0].GetProperty("text").GetString());
        Assert.Contains("has no chat template", Tool.Fails(1, "generate", "--model", place, "--chat", "--prompt", "Who?"));
        string both = Tool.Fails(1, "generate", "--model", talks, "--chat", "--raw", "--prompt", "x");
        Assert.Contains("--chat is given together with --raw", both);
        Assert.Contains("--system is given without --chat", Tool.Fails(1, "generate", "--model", talks, "--system", "x", "--prompt", "x"));
        Assert.Contains("--chat is given together with --ids", Tool.Fails(1, "generate", "--model", talks, "--chat", "--ids", "1"));
    }

    [Fact]
    public void Documents_begin_and_end_as_its_texts_do()
    {
        string file = Path.Combine(directory, "text.txt");
        File.WriteAllText(file, "One day.\n\nTwo days.\n<|endoftext|>\nThree.\n");
        using LanguageModel model = LanguageModel.Load(place, device);
        int[] ids = PlainText.Read([file], model.Tokenizer, 400)[0].Completion;
        Assert.Equal([1, .. model.Tokenizer.Encode("One day.\n\nTwo days.\n"), 2, 1, .. model.Tokenizer.Encode("Three.\n"), 2], ids);
        EncodedPair document = PairEncoder.EncodeFor(model, new([new("", "Three.") { IsDocument = true }], "test"))[0];
        Assert.Equal([1], document.Context);
        Assert.Equal([.. model.Tokenizer.Encode("Three."), 2], document.Completion);
    }

    [Fact]
    public void Merged_or_saved_it_takes_its_tokenizer_along()
    {
        string saved = Path.Combine(directory, "saved");
        Dictionary<string, string> beside = new()
        {
            ["tokenizer_config.json"] = """{"add_bos_token": true, "bos_token": "<s>", "eos_token": {"content": "</s>"}}""",
            ["special_tokens_map.json"] = "{}",
            ["generation_config.json"] = """{"eos_token_id": [2, 13]}""",
            ["chat_template.jinja"] = "{{ messages }}",
        };
        string whole = Path.Combine(directory, "whole");
        Directory.CreateDirectory(whole);
        foreach (string name in files) File.Copy(Path.Combine(place, name), Path.Combine(whole, name));
        foreach ((string name, string text) in beside) File.WriteAllText(Path.Combine(whole, name), text);
        Tool.Json("merge", "--model", whole, "--out", saved);
        foreach ((string name, string text) in beside) Assert.Equal(text, File.ReadAllText(Path.Combine(saved, name)));
        using LanguageModel model = LanguageModel.Load(saved, device);
        Assert.Equal([2, 13], model.StopTokens);
        Assert.Equal("Once upon a time", model.Tokenizer.Decode(model.Tokenizer.EncodeContext("Once upon a time")));
        Assert.Contains("chat_template.jinja: this chat template is not known", Assert.Throws<NolaException>(() => model.Chat).Message);
    }
}
