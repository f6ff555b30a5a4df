using System.Text.Json;
using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

public sealed class Gpt2Tests : IDisposable
{
    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void The_published_sizes_have_the_published_counts()
    {
        Assert.Equal(124_439_808, Gpt2Config.ByName("gpt2")!.ParameterCount);
        Assert.Equal(354_823_168, Gpt2Config.ByName("gpt2-medium")!.ParameterCount);
        Assert.Equal(774_030_080, Gpt2Config.ByName("gpt2-large")!.ParameterCount);
        Assert.Equal(1_557_611_200, Gpt2Config.ByName("gpt2-xl")!.ParameterCount);
        Assert.Null(Gpt2Config.ByName("gpt3"));
    }

    [Theory]
    [InlineData("{}", "n_layer is missing")]
    [InlineData("[]", "expected a JSON object")]
    [InlineData("{", "not valid JSON")]
    [InlineData("""{"model_type":"llama"}""", "model_type is \"llama\"")]
    [InlineData("""{"n_layer":2,"n_head":5,"n_embd":48,"vocab_size":97,"n_positions":24}""", "must divide")]
    [InlineData("""{"n_layer":0,"n_head":4,"n_embd":48,"vocab_size":97,"n_positions":24}""", "n_layer is 0")]
    [InlineData("""{"n_layer":2,"n_head":4,"n_embd":48,"vocab_size":97,"n_positions":24,"activation_function":"relu"}""", "relu")]
    public void A_configuration_that_is_not_GPT2_s_gives_a_sentence(string json, string complaint)
    {
        NolaException error = Assert.Throws<NolaException>(
            () => Gpt2Config.Parse(System.Text.Encoding.UTF8.GetBytes(json), "dir/config.json"));
        Assert.StartsWith("dir/config.json: ", error.Message);
        Assert.Contains(complaint, error.Message);
    }

    [Theory]
    [InlineData(1e-6f)]
    [InlineData(1.2345678e-9f)]
    [InlineData(1e-35f)]
    public void A_configuration_written_is_read(float epsilon)
    {
        Gpt2Config config = new(3, 4, 64, 1000, 77) { Inner = 100, LayerNormEpsilon = epsilon };
        Assert.Equal(config, Gpt2Config.Parse(System.Text.Encoding.UTF8.GetBytes(config.ToJson()), ""));
        // A vocabulary that is padded ends texts with GPT-2's token, or with what its file says.
        Assert.Contains("\"eos_token_id\": 50256", new Gpt2Config(1, 1, 4, 50304).ToJson());
        string other = new Gpt2Config(1, 1, 4, 50304).ToJson().Replace("\"eos_token_id\": 50256", "\"eos_token_id\": 7");
        Assert.Contains("\"eos_token_id\": 7", Gpt2Config.Parse(System.Text.Encoding.UTF8.GetBytes(other), "").ToJson());
    }

    [Fact]
    public void Tiny_random_gpt2_has_the_logits_that_numpy_computed_in_double()
    {
        using JsonDocument golden = JsonDocument.Parse(
            File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "data", "golden", "decoding", "tiny-random-gpt2.json")));
        using LanguageModel model = LanguageModel.Load(TinyModels.TinyRandom, device);
        int[][] inputs = [.. golden.RootElement
            .GetProperty("input_ids")
            .EnumerateArray()
            .Select(row => row.EnumerateArray().Select(v => v.GetInt32()).ToArray())];
        double[][] wanted = [.. golden.RootElement
            .GetProperty("logits_last_position_float64_numpy")
            .EnumerateArray()
            .Select(row => row.EnumerateArray().Select(v => v.GetDouble()).ToArray())];
        for (int i = 0; i < inputs.Length; i++)
        {
            float[] last = model.Logits(inputs[i])[^1000..];
            // logits of magnitude 0.5, five layers in float32
            for (int v = 0; v < wanted[i].Length; v++) Assert.Equal(wanted[i][v], last[v], 1e-5);
        }
    }

    [Fact]
    public void Greedy_continuations_are_PyTorch_s()
    {
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(TinyModels.Golden, "case.json")));
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        int[] prompts = TinyModels.Ids(golden.RootElement.GetProperty("prompt"));
        int i = 0;
        foreach (JsonElement row in golden.RootElement.GetProperty("greedy").EnumerateArray())
        {
            int[] wanted = TinyModels.Ids(row);
            int prompt = prompts[i++];
            int[] got = model.Generate(wanted.AsSpan(0, prompt), null, new GenerateOptions
            {
                MaxNewTokens = wanted.Length - prompt,
                StopTokens = [],
            });
            Assert.Equal(wanted[prompt..], got);
        }
    }

    [Fact]
    public void The_trained_sorter_sorts_every_input()
    {
        using LanguageModel model = NanoSort.Load(device, directory);
        for (int n = 0; n < 729; n++)
        {
            int[] input = [.. Enumerable.Range(0, 6).Select(i => n / (int)Math.Pow(3, i) % 3)];
            Assert.Equal(input.Order(), model.Generate(input, null, new GenerateOptions { MaxNewTokens = 6, StopTokens = [] }));
        }
    }

    [Fact]
    public void Every_tensor_inside_the_trained_sorter_is_the_recorded_one()
    {
        using LanguageModel model = NanoSort.Load(device, directory);
        int[][] inputs = NanoSort.Inputs();
        TokenStream stream = new([.. inputs.SelectMany(i => i)], [0, 11, 22, 33], [], []);
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device, record: false);
        Dictionary<string, Parameter> weights = model.Parameters.ToDictionary(p => p.Name);
        Variable x = tape.Constant(device.From(NanoSort.Recorded("x"), [33, 48]));
        Variable ln1 = Check("ln1", Ops.LayerNorm(x, Read("h.0.ln_1.weight"), Read("h.0.ln_1.bias")));
        Variable qkv = Check("qkv", model.Map("h.0.attn.c_attn").Forward(ln1, batch));
        Variable y = Check("y", Ops.Attention(qkv, batch.Starts, model.Shape.Attention));
        Variable residual = Check("attnResid", x + Check("yProj", model.Map("h.0.attn.c_proj").Forward(y, batch)));
        Variable ln2 = Check("ln2", Ops.LayerNorm(residual, Read("h.0.ln_2.weight"), Read("h.0.ln_2.bias")));
        Variable gelu = Check("gelu", Ops.Gelu(Check("fc", model.Map("h.0.mlp.c_fc").Forward(ln2, batch))));
        Check("mlpResid", residual + Check("mlp", model.Map("h.0.mlp.c_proj").Forward(gelu, batch)));
        Check("ln_f", model.Hidden(tape, batch));
        float[] logits = [.. inputs.SelectMany(i => model.Logits(i))];
        Close(NanoSort.Recorded("lm_head"), logits, "lm_head");

        Variable Read(string name) => tape.Read(weights[name]);

        Variable Check(string name, Variable value)
        {
            Close(NanoSort.Recorded(name), value.Value.ToArray(), name);
            return value;
        }

        // The record is float32 as well: two roundings, in values up to 15.
        static void Close(float[] wanted, float[] got, string name)
        {
            double worst = wanted.Zip(got, (w, g) => Math.Abs(w - g)).Max();
            Assert.True(wanted.Length == got.Length && worst < 5e-5, $"{name}: {worst:E1}");
        }
    }

    [Property(MaxTest = 15)]
    public void A_token_stream_equals_the_padded_batch(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        EncodedPair[] pairs = TinyModels.Pairs(r, 1 + r.Next(5), 61);
        TokenStream stream = TokenStreams.FromPairs(pairs);
        // The same as a rectangle: every sequence filled up to the longest with tokens whose loss does not count.
        int longest = stream.Longest;
        List<int> ids = [], positions = [];
        for (int s = 0; s < pairs.Length; s++)
        {
            int length = stream.Starts[s + 1] - stream.Starts[s];
            positions.AddRange(stream.LossPositions
                .Where(p => p >= stream.Starts[s] && p < stream.Starts[s + 1])
                .Select(p => p - stream.Starts[s] + s * longest));
            ids.AddRange(stream.Ids[stream.Starts[s]..stream.Starts[s + 1]]);
            ids.AddRange(Enumerable.Repeat(r.Next(61), longest - length));
        }
        TokenStream padded = new(
            [.. ids], [.. Enumerable.Range(0, pairs.Length + 1).Select(s => s * longest)], [.. positions], stream.Targets);
        float[] one = Losses(model, stream), other = Losses(model, padded);
        for (int i = 0; i < one.Length; i++) Assert.Equal(one[i], other[i], 2e-6f);
    }

    [Property(MaxTest = 10)]
    public void Decoding_with_the_cache_equals_reading_the_whole(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        int[][] sequences = [.. Enumerable.Range(0, 1 + r.Next(3)).Select(_ => TinyModels.Ids(r, 4 + r.Next(12), 61))];
        using KvCache cache = new(model, sequences.Length, 20);
        int[] done = new int[sequences.Length];
        while (sequences.Zip(done).Any(p => p.Second < p.First.Length - 1))
        {
            // Each sequence goes on by a piece of its own length, at least one token.
            int[] next = [.. sequences.Select((ids, s) => Math.Min(ids.Length, done[s] + 1 + r.Next(5)))];
            if (sequences.Where((_, s) => next[s] == done[s]).Any()) break;
            List<int> ids = [], starts = [0];
            for (int s = 0; s < sequences.Length; s++)
            {
                ids.AddRange(sequences[s][done[s]..next[s]]);
                starts.Add(ids.Count);
            }
            float[] got = model.Decode(new TokenStream([.. ids], [.. starts], [], []), cache);
            for (int s = 0; s < sequences.Length; s++)
            {
                float[] whole = model.Logits(sequences[s].AsSpan(0, next[s]))[^61..];
                for (int v = 0; v < 61; v++) Assert.Equal(whole[v], got[s * 61 + v], 1e-5f);
            }
            done = next;
        }
    }

    [Fact]
    public void One_thread_equals_three_bit_for_bit()
    {
        EncodedPair[] pairs = TinyModels.Pairs(new Random(9), 12, 61);
        float[][] gradients = [.. ((int[])[1, 3]).Select(threads =>
        {
            using CpuDevice own = new(threads);
            using LanguageModel model = TinyModels.Create(own, trainable: true);
            using StreamTensors batch = new(own, TokenStreams.FromPairs(pairs));
            using Tape tape = new(own);
            tape.Backward(model.Loss(tape, batch, 0.1f, 0.01f));
            return model.Parameters.SelectMany(p => p.Gradient.ToArray()).ToArray();
        })];
        Assert.Equal(gradients[0], gradients[1]);
    }

    [Fact]
    public void Blocks_computed_again_give_the_same_bits_in_less_memory()
    {
        using LanguageModel model = TinyModels.Create(device, layers: 6);
        using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Bases = 20, Targets = ["*"] });
        TinyModels.Randomize(adapter, new Random(2));
        TokenStream stream = TokenStreams.FromPairs(TinyModels.Pairs(new Random(1), 20, 61)).With(adapter);
        using StreamTensors batch = new(device, stream);
        (float[] plain, long plainPeak) = Run(false);
        (float[] again, long againPeak) = Run(true);
        Assert.Equal(plain, again);
        Assert.True(againPeak < 0.6 * plainPeak, $"peak {againPeak} of {plainPeak} bytes");

        (float[], long) Run(bool blocks)
        {
            adapter.Update();
            long before = device.Pool.LiveBytes;
            device.Pool.ResetPeak();
            using (Tape tape = new(device, true, blocks)) tape.Backward(model.Loss(tape, batch, 0, 0.01f));
            long peak = device.Pool.PeakBytes - before;
            adapter.CollectGradients();
            float[] gradients = [.. adapter.Parameters.SelectMany(p => p.Gradient.ToArray())];
            foreach (Parameter p in adapter.Parameters) p.ClearGradient();
            return (gradients, peak);
        }
    }

    [Fact]
    public void A_frozen_model_has_the_trainable_one_s_logits_and_a_saved_one_loads_the_same()
    {
        int[] ids = TinyModels.Ids(new Random(1), 15, 61);
        using LanguageModel frozen = TinyModels.Create(device), trainable = TinyModels.Create(device, trainable: true);
        Assert.Equal(frozen.Logits(ids), trainable.Logits(ids));
        frozen.Save(Path.Combine(directory, "a"));
        trainable.Save(Path.Combine(directory, "b"));
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(directory, "a", "model.safetensors")),
            File.ReadAllBytes(Path.Combine(directory, "b", "model.safetensors")));
        using LanguageModel loaded = LanguageModel.Load(Path.Combine(directory, "a"), device);
        Assert.Equal(frozen.Logits(ids), loaded.Logits(ids));
    }

    [Fact]
    public void A_model_takes_the_tokenizer_of_its_directory_along()
    {
        string from = Path.Combine(directory, "from"), to = Path.Combine(directory, "to");
        using (LanguageModel model = TinyModels.Create(device)) model.Save(from);
        File.WriteAllText(Path.Combine(from, "vocab.json"), "{}");
        File.WriteAllText(Path.Combine(from, "merges.txt"), "#");
        using LanguageModel loaded = LanguageModel.Load(from, device);
        loaded.Save(to);
        loaded.Save(from);
        Assert.Equal(
            ["config.json", "merges.txt", "model.safetensors", "vocab.json"], Directory.GetFiles(to).Select(Path.GetFileName).Order());
        // What it came from may be gone when a long training ends.
        Directory.Delete(from, recursive: true);
        loaded.Save(to);
    }

    [Fact]
    public void Prefixed_sharded_and_untied_checkpoints_load()
    {
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        int[] ids = [1, 2, 3];
        List<SafetensorsTensor> all = [.. model.Weights().Select(w => new SafetensorsTensor("transformer." + w.Name, w.Shape, w.Values()))];
        File.Copy(Path.Combine(TinyModels.Golden, "config.json"), Path.Combine(directory, "config.json"));
        SafetensorsWriter.Write(Path.Combine(directory, "model-1.safetensors"), all.Take(7));
        SafetensorsWriter.Write(Path.Combine(directory, "model-2.safetensors"), all.Skip(7));
        string index = Path.Combine(directory, "model.safetensors.index.json");
        Dictionary<string, string> map = all.Select((t, i) => (t.Name, i)).ToDictionary(
            t => t.Name, t => t.i < 7 ? "model-1.safetensors" : "model-2.safetensors");
        File.WriteAllText(index, JsonSerializer.Serialize(new { weight_map = map }));
        using (LanguageModel sharded = LanguageModel.Load(directory, device))
        {
            Assert.Equal(model.Logits(ids), sharded.Logits(ids));
            Assert.Equal(model.Identity, sharded.Identity);
        }
        File.WriteAllText(
            index, JsonSerializer.Serialize(new { weight_map = new Dictionary<string, string>(map) { ["x"] = "../model-1.safetensors" } }));
        Assert.Contains("not a plain file name", Assert.Throws<NolaException>(() => LanguageModel.Load(directory, device)).Message);
        File.WriteAllText(
            index, JsonSerializer.Serialize(new { weight_map = new Dictionary<string, string>(map) { ["x"] = "model-3.safetensors" } }));
        Assert.Contains(
            "'model-3.safetensors' is missing", Assert.Throws<NolaException>(() => LanguageModel.Load(directory, device)).Message);
        File.WriteAllText(
            index, JsonSerializer.Serialize(new { weight_map = new Dictionary<string, string>(map) { ["x"] = "model-1.safetensors" } }));
        Assert.Contains("'x' is not in its shard", Assert.Throws<NolaException>(() => LanguageModel.Load(directory, device)).Message);
    }

    [Fact]
    public void A_checkpoint_that_does_not_fit_gives_a_sentence_and_no_model()
    {
        string config = Path.Combine(directory, "config.json");
        File.Copy(Path.Combine(TinyModels.Golden, "config.json"), config);
        Assert.Contains("there is no model.safetensors", Assert.Throws<NolaException>(() => LanguageModel.Load(directory, device)).Message);
        File.Copy(Path.Combine(TinyModels.Golden, "model.safetensors"), Path.Combine(directory, "model.safetensors"));
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"n_layer\": 2", "\"n_layer\": 3"));
        Assert.Contains("'h.2.ln_1.weight' is missing", Assert.Throws<NolaException>(() => LanguageModel.Load(directory, device)).Message);
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"vocab_size\": 97", "\"vocab_size\": 98"));
        Assert.Contains("config.json makes it (98, 48)", Assert.Throws<NolaException>(() => LanguageModel.Load(directory, device)).Message);
        Assert.Contains("no config.json", Assert.Throws<NolaException>(() => LanguageModel.Load(Path.GetTempPath(), device)).Message);
        Assert.Contains(
            "nor in the Hugging Face cache", Assert.Throws<NolaException>(() => LanguageModel.Load("no-such-model", device)).Message);
    }

    [Fact]
    public void The_embedded_model_knows_English()
    {
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        Assert.Equal(8_546_816, model.Config.ParameterCount);
        EncodedPair sentence = new(
            [],
            model.Tokenizer.Encode("He had been in the house for some time, and it was not until the evening that she came to him."));
        // A uniform guess costs ln 8192 = 9.0 nats a token.
        Assert.InRange(Evaluation.Loss(model, [sentence]).Loss, 1, 6);
    }

    [Fact]
    public void A_sequence_longer_than_the_context_is_refused()
    {
        using LanguageModel model = TinyModels.Create(device);
        Assert.Contains("at most 40", Assert.Throws<NolaException>(() => model.Logits(new int[41])).Message);
        Assert.Contains("outside the model's vocabulary", Assert.Throws<NolaException>(() => model.Generate([61])).Message);
        Assert.Contains("empty", Assert.Throws<NolaException>(() => model.Generate([])).Message);
        // 40 read, and one more predicted
        Assert.Equal(38, model.Generate([1, 2, 3], null, new GenerateOptions { MaxNewTokens = 100, StopTokens = [] }).Length);
    }

    private float[] Losses(LanguageModel model, TokenStream stream)
    {
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device, record: false);
        using Tensor losses = device.Empty([stream.Targets.Length]);
        model.Loss(tape, batch, 0, 1, losses);
        return losses.ToArray();
    }
}
