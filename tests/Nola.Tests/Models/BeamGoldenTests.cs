using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Beam searches of other programs: the published code's rules on the golden model, ONNX Runtime's on tiny-random-gpt2.</summary>
public sealed class BeamGoldenTests : IDisposable
{
    private readonly CpuDevice device = new(2);

    public void Dispose() => device.Dispose();

    [Fact]
    public void Published_rules_give_the_recorded_outputs()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        JsonElement golden = Read("published-rules-on-gpt2.json");
        int[][] prompts = Rows(golden.GetProperty("prompts"));
        int outputs = 0;
        foreach (JsonElement run in golden.GetProperty("runs").EnumerateArray())
        {
            GenerateOptions options = new()
            {
                Beams = run.GetProperty("beams").GetInt32(),
                LengthPenalty = run.GetProperty("length_penalty").GetDouble(),
                NoRepeatNgram = run.GetProperty("no_repeat_ngram_size").GetInt32(),
                MaxNewTokens = run.GetProperty("max_new").GetInt32(),
                MinNewTokens = run.TryGetProperty("min_length", out JsonElement least) ? least.GetInt32() : 0,
                StopTokens = TinyModels.Ids(run.GetProperty("stop")),
            };
            int[][] wanted = Rows(run.GetProperty("outputs")), got = model.GenerateAll(prompts, null, options);
            for (int i = 0; i < prompts.Length; i++)
            {
                // Outputs are filled up with 0.
                Assert.Equal(wanted[i], got[i].Concat(new int[options.MaxNewTokens - got[i].Length]));
                Assert.Equal(got[i], model.Generate(prompts[i], null, options));
                outputs++;
            }
        }
        Assert.Equal(40, outputs);
    }

    [Fact]
    public void Hugging_Face_rules_give_what_ONNX_Runtime_gives()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.TinyRandom, device);
        JsonElement golden = Read("tiny-random-gpt2.json");
        int[][] prompts = Rows(golden.GetProperty("input_ids"));
        foreach (JsonElement run in golden.GetProperty("beam_search_by_onnxruntime_cpu").EnumerateArray())
        {
            int length = run.GetProperty("max_length").GetInt32();
            GenerateOptions options = new()
            {
                BeamRules = BeamRules.HuggingFace,
                Beams = run.GetProperty("num_beams").GetInt32(),
                LengthPenalty = run.GetProperty("length_penalty").GetDouble(),
                MaxNewTokens = length - prompts[0].Length,
                StopTokens = [golden.GetProperty("eos_and_pad").GetInt32()],
            };
            int[] wanted = TinyModels.Ids(run.GetProperty("seq"));
            int[] got = [.. model.GenerateAll(prompts, null, options).Zip(prompts, (g, p) => (int[])[.. p, .. g]).SelectMany(ids => ids)];
            Assert.Equal(wanted, got);
        }
    }

    private static JsonElement Read(string name) =>
        JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "data", "golden", "decoding", name))).RootElement;

    private static int[][] Rows(JsonElement array) => [.. array.EnumerateArray().Select(TinyModels.Ids)];
}
