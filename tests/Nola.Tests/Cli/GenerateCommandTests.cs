using System.Text;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary><c>nola generate</c>: sampling by seed, why a text ends, and what goes with what.</summary>
public sealed class GenerateCommandTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Theory]
    [InlineData("--top-k", "5")]
    [InlineData("--top-p", "0.9")]
    [InlineData("--top-p", "1")]
    [InlineData("--num-samples", "1")]
    public void An_option_of_sampling_samples_at_temperature_one(params string[] option)
    {
        int[] drawn = Ids(Assert.Single(Tool.Json(Golden([.. option, "--seed", "7", "--max-new", "12"]))));
        int[] wanted = Ids(Assert.Single(Tool.Json(Golden([.. option, "--seed", "7", "--max-new", "12", "--temperature", "1"]))));
        int[] greedy = Ids(Assert.Single(Tool.Json(Golden(["--max-new", "12"]))));
        Assert.Equal(wanted, drawn);
        Assert.NotEqual(greedy, drawn);
    }

    [Fact]
    public void Without_a_seed_each_run_draws_another_one_and_says_it()
    {
        string[] common = Golden("--temperature", "1", "--max-new", "20", "--json");
        (int code, string output, string error) = Tool.Run(common);
        Assert.True(code == 0, error);
        JsonElement first = JsonDocument.Parse(output).RootElement;
        JsonElement second = Assert.Single(Tool.Json(Golden("--temperature", "1", "--max-new", "20")));
        string seed = first.GetProperty("seed").GetRawText();
        Assert.Contains($"--seed {seed} ", error);
        Assert.NotEqual(seed, second.GetProperty("seed").GetRawText());
        Assert.NotEqual(Ids(first), Ids(second));
        Assert.Equal(Ids(first), Ids(Assert.Single(Tool.Json(Golden("--temperature", "1", "--max-new", "20", "--seed", seed)))));
    }

    [Fact]
    public void Several_samples_of_a_prompt_differ_and_can_be_drawn_again_alone()
    {
        string[] common = Golden("--seed", "4", "--max-new", "6", "--stop", "");
        JsonElement[] texts = Tool.Json([.. common, "--num-samples", "4"]);
        Assert.Equal([0, 1, 2, 3], texts.Select(t => t.GetProperty("sample").GetInt32()));
        Assert.Equal(4, texts.Select(Ids).Distinct(TokenSequences.Comparer).Count());
        Assert.Equal(Ids(texts[2]), Ids(Assert.Single(Tool.Json([.. common, "--first-sequence", "2"]))));
        using CpuDevice device = new();
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        GenerateOptions options = new() { Temperature = 1, Seed = 4, NumSamples = 4, MaxNewTokens = 6, StopTokens = [] };
        int[][] wanted = model.GenerateAll([[28, 26, 47]], null, options);
        Assert.Equal(wanted, texts.Select(Ids));
        Assert.Equal(wanted.Select(ids => string.Join(',', ids)), Tool.Lines([.. common, "--num-samples", "4"]));
    }

    [Fact]
    public void Each_line_of_a_file_of_prompts_is_sampled_by_itself()
    {
        string prompts = Path.Combine(directory, "prompts.jsonl"), pairs = Path.Combine(directory, "pairs.jsonl");
        File.WriteAllLines(prompts, ["""{"context":[3,59]}""", """{"context":[47,60,1]}""", """{"context":[3,59]}"""]);
        File.WriteAllLines(pairs, ["""{"context":[3,59],"completion":[1]}""", """{"context":[3,59],"completion":[2]}"""]);
        string[] model = ["generate", "--model", TinyModels.Golden, "--max-new", "8", "--stop", ""], common = [.. model, "--prompts"];
        JsonElement[] texts = Tool.Json([.. common, prompts, "--seed", "5", "--num-samples", "2"]);
        Assert.Equal([0, 1, 2, 3, 4, 5], texts.Select(t => t.GetProperty("sequence").GetInt32()));
        Assert.Equal([0, 1, 0, 1, 0, 1], texts.Select(t => t.GetProperty("sample").GetInt32()));
        int[][] contexts = [.. texts.Select(t => TinyModels.Ids(t.GetProperty("context")))];
        Assert.Equal([[3, 59], [3, 59], [47, 60, 1], [47, 60, 1], [3, 59], [3, 59]], contexts);
        Assert.Equal(6, texts.Select(Ids).Distinct(TokenSequences.Comparer).Count());
        JsonElement alone = Assert.Single(Tool.Json([.. model, "--ids", "3,59", "--seed", "5", "--first-sequence", "5"]));
        Assert.Equal(Ids(texts[5]), Ids(alone));
        // What is decided is decoded once; so is an input of a data set, whatever the number of its references.
        Assert.Equal(2, Tool.Json([.. common, prompts]).Length);
        Assert.Single(Tool.Json([.. common, pairs, "--seed", "5"]));
        string answers = Path.Combine(directory, "answers.jsonl");
        Assert.Equal(5, Assert.Single(Tool.Json([.. common, prompts, "--seed", "5", "--out", answers])).GetProperty("seed").GetInt32());
        Assert.Equal(3, File.ReadLines(answers).Count());
    }

    [Fact]
    public void A_file_of_text_prompts_has_a_line_for_each_sample()
    {
        string prompts = Path.Combine(directory, "prompts.txt");
        File.WriteAllLines(prompts, ["name : Blue Spice", "name : The Punter", "name : Blue Spice"]);
        string[] common = ["generate", "--max-new", "8", "--top-k", "50", "--seed", "2", "--num-samples", "2"];
        string[] lines = Tool.Lines([.. common, "--prompts", prompts]);
        Assert.Equal(6, lines.Length);
        Assert.NotEqual(lines[0], lines[4]);
        string[] alone = Tool.Lines([.. common, "--prompt", "name : Blue Spice", "--first-sequence", "4"]);
        Assert.Equal(lines[4..].Select(line => line.Trim()), alone.Select(line => line.Trim()));
    }

    [Fact]
    public void An_input_of_a_data_set_in_text_form_is_sampled_once_whatever_its_references()
    {
        string pairs = Path.Combine(directory, "pairs.txt");
        File.WriteAllLines(
            pairs, ["name : Blue Spice||Blue Spice.", "name : Blue Spice||It is Blue Spice.", "name : The Punter||The Punter."]);
        Assert.Equal(2, Tool.Lines("generate", "--prompts", pairs, "--max-new", "3", "--seed", "2").Length);
    }

    [Fact]
    public void Ids_are_printed_as_text_where_the_model_has_a_tokenizer()
    {
        string ids = string.Join(',', ((ITokenizer)Gpt2Tokenizer.WithVocabulary(8192)).EncodeContext("name : Blue Spice"));
        string text = Assert.Single(Tool.Lines("generate", "--prompt", "name : Blue Spice", "--max-new", "6"));
        Assert.Equal(text, Assert.Single(Tool.Lines("generate", "--ids", ids, "--max-new", "6")));
        JsonElement json = Assert.Single(Tool.Json("generate", "--ids", ids, "--max-new", "6"));
        Assert.Equal((text, "length"), (json.GetProperty("text").GetString(), json.GetProperty("finish_reason").GetString()));
        (int code, string output, string error) = Tool.Run(Golden("--max-new", "5", "--stop", ""));
        Assert.Equal((0, "52,52,52,52,52\n"), (code, output));
        Assert.Contains("no tokenizer", error);
    }

    [Fact]
    public void Why_a_text_ends_is_told()
    {
        Assert.Equal("length", Reason("--max-new", "3", "--stop", ""));
        Assert.Equal("stop", Reason("--max-new", "3", "--stop", "52"));
        Assert.Equal("context", Reason("--max-new", "90", "--stop", ""));
        (_, _, string error) = Tool.Run(Golden("--max-new", "90", "--stop", ""));
        Assert.Contains("reads at most 24 tokens, of which the prompt has 3", error);
        string prompts = Path.Combine(directory, "prompts.jsonl");
        File.WriteAllLines(prompts, ["""{"context":[28,26,47]}""", """{"context":[28]}"""]);
        string[] many = ["generate", "--model", TinyModels.Golden, "--prompts", prompts, "--max-new", "23", "--stop", ""];
        Assert.Equal(["context", "length"], Tool.Json(many).Select(line => line.GetProperty("finish_reason").GetString()));
        (_, _, string counts) = Tool.Run([.. many, "--json"]);
        Assert.Contains("1 of the texts end", counts);

        string? Reason(params string[] options) => Assert.Single(Tool.Json(Golden(options))).GetProperty("finish_reason").GetString();
    }

    [Fact]
    public void No_new_token_is_an_empty_line_for_each_input()
    {
        string prompts = Path.Combine(directory, "prompts.jsonl");
        File.WriteAllLines(prompts, ["""{"context":[28]}""", """{"context":[29]}"""]);
        JsonElement[] lines = Tool.Json("generate", "--model", TinyModels.Golden, "--prompts", prompts, "--max-new", "0");
        Assert.Equal([[], []], lines.Select(Ids));
    }

    [Fact]
    public void What_is_read_from_standard_input_is_UTF_8()
    {
        Assert.Equal(
            Tool.Run(["generate", "--max-new", "3"], "name : Café\n"u8.ToArray()).Output,
            Tool.Run(["generate", "--max-new", "3", "--prompt", "name : Café"]).Output);
        (int code, string output, string error) = Tool.Run(["generate", "--max-new", "3"], Encoding.Latin1.GetBytes("name : Café"));
        Assert.Equal((1, ""), (code, output));
        Assert.Contains("standard input, line 1: not valid UTF-8", error);
    }

    [Theory]
    [InlineData(
        1, "temperature is 0, which takes the most likely token each time, and top-k 5 is for sampling",
        "--top-k", "5", "--temperature", "0")]
    [InlineData(
        1, "temperature is 0, which takes the most likely token each time, and num-samples 2", "--num-samples", "2", "--temperature", "0")]
    [InlineData(1, "--top-p is given together with --beams 4", "--top-p", "0.5", "--beams", "4")]
    [InlineData(1, "--num-samples is given together with --beams 4", "--num-samples", "2", "--beams", "4")]
    [InlineData(1, "--seed is given together with --beams 4", "--seed", "2", "--beams", "4")]
    [InlineData(1, "num-samples is 0; expected 1 to 100000", "--num-samples", "0")]
    [InlineData(1, "--prompt is given together with --ids", "--prompt", "x")]
    [InlineData(1, "--ids is given together with --prompts", "--prompts", "x.txt")]
    [InlineData(1, "--prompt is given together with --ids and --prompts", "--prompts", "x.txt", "--prompt", "x")]
    [InlineData(2, "--temperature: '0,8' is not a number; write 0.8.", "--temperature", "0,8")]
    [InlineData(2, "--length-penalty: '0,8' is not a number; write 0.8.", "--beams", "2", "--length-penalty", "0,8")]
    public void What_does_not_go_together_is_refused(int exit, string complaint, params string[] options) =>
        Assert.Contains(complaint, Tool.Fails(exit, Golden(options)));

    [Fact]
    public void A_file_given_as_a_model_is_told_its_directory()
    {
        string sentence = Tool.Fails(1, "generate", "--ids", "1", "--model", Path.Combine(TinyModels.Golden, "model.safetensors"));
        Assert.Contains($"give {TinyModels.Golden}", sentence);
        Assert.Contains("a model is a directory", sentence);
    }

    private static int[] Ids(JsonElement line) => TinyModels.Ids(line.GetProperty("ids"));

    private static string[] Golden(params string[] options) => ["generate", "--model", TinyModels.Golden, "--ids", "28,26,47", .. options];
}
