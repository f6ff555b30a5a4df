using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Whole models whose linear maps are kept in 8 and 4 bits, quantized when they are loaded or before.</summary>
public sealed class QuantizedModelTests : IDisposable
{
    // Head sizes and inner columns of which some make blocks of NF4 cross rows.
    private static readonly LlamaConfig llama = new("llama", 2, 6, 2, 16, 72, 112, 61, 300);

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public static TheoryData<WeightFormat, string> Kinds => new()
    {
        { WeightFormat.Int8, "llama" },
        { WeightFormat.Int8, "gpt2" },
        { WeightFormat.Nf4, "llama" },
        { WeightFormat.Nf4, "gpt2" },
        { WeightFormat.Nf4Double, "llama" },
        { WeightFormat.Nf4Double, "gpt2" },
    };

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_model_is_what_the_codes_of_its_maps_stand_for(WeightFormat format, string family)
    {
        string place = Whole(family);
        using LanguageModel quantized = LanguageModel.Load(place, device, format: format);
        using LanguageModel rounded = LanguageModel.Load(Rounded(place, format), device);
        Assert.All(quantized.Maps, map => Assert.Equal(format, map.Frozen!.Format));
        int[] ids = TinyModels.Ids(new Random(4), 30, 61);
        Same(rounded.Logits(ids), quantized.Logits(ids), format);
        GenerateOptions greedy = new() { MaxNewTokens = 12, StopTokens = [] };
        Assert.Equal(rounded.Generate([7, 3], null, greedy), quantized.Generate([7, 3], null, greedy));
        // An adapter knows its base by what the checkpoint has.
        using LanguageModel whole = LanguageModel.Load(place, device);
        Assert.Equal(whole.Identity, quantized.Identity);
        Assert.NotEqual(whole.Identity, rounded.Identity);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Adapters_get_the_gradients_that_the_rounded_model_gives_them(WeightFormat format, string family)
    {
        string place = Whole(family);
        using LanguageModel quantized = LanguageModel.Load(place, device, format: format);
        using LanguageModel rounded = LanguageModel.Load(Rounded(place, format), device);
        EncodedPair[] pairs = TinyModels.Pairs(new Random(2), 5, 61);
        AdapterOptions[] all =
        [
            new NolaOptions { Rank = 2, Bases = 12, Targets = ["*"] }, new LoraOptions { Rank = 3, Targets = ["*"] },
            new VeraOptions { Rank = 5, Targets = ["*"] },
            new LoraOptions { Rank = 3, Targets = ["*"], Decomposed = true }, new LoraXsOptions { Rank = 3, Targets = ["*"] },
        ];
        foreach (AdapterOptions options in all)
            Same(Gradients(rounded, options, pairs), Gradients(quantized, options, pairs), format);
    }

    // In 8 bits sums are multiplied with what their values have in common, and so are rounded otherwise than sums of whole values.
    private static void Same(float[] expected, float[] given, WeightFormat format)
    {
        float tolerance = 2e-5f * expected.Max(MathF.Abs);
        if (format != WeightFormat.Int8) Assert.Equal(expected, given);
        else Assert.All(expected.Zip(given), pair => Assert.Equal(pair.First, pair.Second, tolerance));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_checkpoint_of_bitsandbytes_is_the_same_model(WeightFormat format, string family)
    {
        string place = Whole(family), codes = Quantized(place, format);
        using LanguageModel made = LanguageModel.Load(place, device, format: format);
        using LanguageModel rounded = LanguageModel.Load(Rounded(place, format), device);
        int[] ids = TinyModels.Ids(new Random(4), 30, 61);
        // Whatever is asked for, what is in codes stays in them.
        foreach (WeightFormat asked in (WeightFormat[])[WeightFormat.Float32, WeightFormat.Int8, WeightFormat.Nf4])
        {
            using LanguageModel loaded = LanguageModel.Load(codes, device, format: asked);
            Assert.All(loaded.Maps, map => Assert.Equal(format, map.Frozen!.Format));
            Assert.Equal(made.Logits(ids), loaded.Logits(ids));
            Assert.Equal(rounded.Identity, loaded.Identity);
        }
        using LanguageModel trainable = LanguageModel.Load(codes, device, trainable: true);
        Assert.Equal(rounded.Identity, trainable.Identity);
    }

    [Fact]
    public void Maps_of_which_some_are_in_codes_stand_for_what_the_file_has()
    {
        string place = Whole("llama");
        using LanguageModel loaded = LanguageModel.Load(Quantized(place, WeightFormat.Nf4Double, IsChosen), device);
        using LanguageModel rounded = LanguageModel.Load(Rounded(place, WeightFormat.Nf4Double, IsChosen), device);
        int[] ids = TinyModels.Ids(new Random(4), 30, 61);
        Assert.Equal(rounded.Logits(ids), loaded.Logits(ids));
        Assert.Equal(rounded.Identity, loaded.Identity);
        Assert.Equal(WeightFormat.Nf4Double, loaded.Map("model.layers.0.mlp.gate_up_proj").Frozen!.Format);
        Assert.Equal(WeightFormat.Float32, loaded.Map("model.layers.0.self_attn.qkv_proj").Frozen!.Format);

        static bool IsChosen(string name) => !name.Contains("v_proj") && !name.Contains("down");
    }

    [Fact]
    public void Weights_as_bitsandbytes_saved_them_are_read()
    {
        string place = Path.Combine(AppContext.BaseDirectory, "data", "golden", "quant");
        using Safetensors file = Safetensors.Open(Path.Combine(place, "bnb-checkpoint.safetensors"));
        using Safetensors expected = Safetensors.Open(Path.Combine(place, "expected.safetensors"));
        Check("self_attn.q_proj", "mid_130x70", "nf4dq", WeightFormat.Nf4Double);
        Check("mlp.up_proj", "big_nested", "nf4dq", WeightFormat.Nf4Double);
        Check("mlp.down_proj", "odd_3x65", "nf4", WeightFormat.Nf4);
        Check("self_attn.v_proj", "normal", "int8", WeightFormat.Int8);

        void Check(string module, string matrix, string kind, WeightFormat format)
        {
            long[] shape = expected.Get("w." + matrix).Shape;
            QuantizedMatrix read = BitsAndBytes.Read(
                name => file.TryGet(name, out SafetensorsEntry entry) ? (file, entry) : null,
                $"model.layers.0.{module}.weight", (int)shape[0], (int)shape[1])!;
            Assert.Equal(format, read.Format);
            Assert.Equal(expected.ReadFinite(expected.Get($"{kind}.{matrix}.dequantised")), read.Values());
        }
    }

    [Theory]
    [InlineData("cut", "has 2591 bytes, and the codes of (72, 72) take 2592. The file is damaged or cut off")]
    [InlineData("absmax", "'model.layers.1.self_attn.o_proj.weight.absmax' is U8 with 80 elements; expected U8 with 81")]
    [InlineData("no absmax", "weight.absmax' is missing beside tensor 'model.layers.1.self_attn.o_proj.weight'")]
    [InlineData("map", "quant_map' has other values than NF4")]
    [InlineData("fp4", "is in codes of FP4; of quantized checkpoints only NF4 and int8 of bitsandbytes can be read")]
    [InlineData("no state", "is in codes of a kind that is not known")]
    [InlineData("blocksize", "blocksize is 128; expected 64")]
    [InlineData("shape", "shape is [72, 96]; expected [72, 72]")]
    [InlineData("offset", "nested_offset is '1e99'; expected a finite number")]
    [InlineData("NaN", "element 0 of tensor 'model.layers.1.self_attn.o_proj.weight.nested_absmax' is NaN")]
    [InlineData("stranger", "is no weight of the LLaMA")]
    public void Codes_that_do_not_fit_are_refused_and_nothing_is_left(string what, string expected)
    {
        const string Name = "model.layers.1.self_attn.o_proj.weight", State = Name + ".quant_state.bitsandbytes__nf4";
        LlamaConfig square = llama with { Heads = 6, HeadSize = 12, KeyValueHeads = 2 };
        string place = Path.Combine(directory, "square");
        using (LanguageModel model = LanguageModel.Create(square, device, 3)) model.Save(place);
        string codes = Quantized(place, WeightFormat.Nf4Double, change: tensors =>
        {
            switch (what)
            {
                case "cut": tensors.Change(Name, bytes => bytes[..^1]); break;
                case "absmax": tensors.Change(Name + ".absmax", bytes => bytes[..^1]); break;
                case "no absmax": tensors.Remove(Name + ".absmax"); break;
                case "map": tensors.Change(Name + ".quant_map", bytes => [.. bytes[..^4], 0, 0, 0, 0x40]); break;
                case "fp4": tensors.Rename(State, Name + ".quant_state.bitsandbytes__fp4"); break;
                case "no state": tensors.Remove(State); break;
                case "blocksize": tensors.ChangeText(State, "\"blocksize\": 64", "\"blocksize\": 128"); break;
                case "shape": tensors.ChangeText(State, "[72, 72]", "[72, 96]"); break;
                case "offset": tensors.ChangeText(State, "\"nested_offset\": ", "\"nested_offset\": 1e99, \"was\": "); break;
                case "NaN": tensors.Change(Name + ".nested_absmax", bytes => [0, 0, 0xC0, 0x7F, .. bytes[4..]]); break;
                default: tensors.Add(Name + ".more", "U8", [1], [1]); break;
            }
        });
        long live = device.Pool.LiveBytes;
        string message = Assert.Throws<NolaException>(() => LanguageModel.Load(codes, device)).Message;
        Assert.Contains(expected, message);
        Assert.Contains("model.safetensors", message);
        Assert.Equal(live, device.Pool.LiveBytes);
    }

    [Theory]
    [InlineData("col", "weight_format' is col_turing; only the layout by rows (0) can be read")]
    [InlineData("scale", "'model.layers.0.mlp.down_proj.SCB' is missing beside tensor 'model.layers.0.mlp.down_proj.weight'")]
    [InlineData("shape", "has shape [72, 111] where config.json makes it [72, 112]")]
    public void Int8_that_does_not_fit_is_refused(string what, string expected)
    {
        const string Module = "model.layers.0.mlp.down_proj";
        string codes = Quantized(Whole("llama"), WeightFormat.Int8, change: tensors =>
        {
            if (what == "col") tensors.Change(Module + ".weight_format", _ => [2]);
            else if (what == "scale") tensors.Remove(Module + ".SCB");
            else tensors.Put(Module + ".weight", "I8", [72, 111], new byte[72 * 111]);
        });
        Assert.Contains(expected, Assert.Throws<NolaException>(() => LanguageModel.Load(codes, device)).Message);
    }

    [Theory]
    [InlineData(WeightFormat.Int8)]
    [InlineData(WeightFormat.Nf4)]
    [InlineData(WeightFormat.Nf4Double)]
    public void Loading_takes_little_more_than_what_is_kept(WeightFormat format)
    {
        LlamaConfig config = new("llama", 6, 4, 4, 64, 256, 1024, 500, 64);
        string place = Path.Combine(directory, "wide");
        using (LanguageModel whole = LanguageModel.Create(config, device, 1)) whole.Save(place, DType.BFloat16);
        device.Pool.Trim();
        device.Pool.ResetPeak();
        using LanguageModel model = LanguageModel.Load(place, device, format: format);
        Assert.InRange(device.Pool.PeakBytes, device.Pool.LiveBytes, device.Pool.LiveBytes + 100_000);
        long values = model.Maps.Sum(map => (long)map.In * map.Out), kept = model.Maps.Sum(map => map.Frozen!.Bytes);
        double bits = 8.0 * kept / values;
        // Of so small maps the table of what codes of magnitudes stand for, 1 KB, is a part.
        double most = format switch { WeightFormat.Int8 => 8.25, WeightFormat.Nf4 => 4.51, _ => 4.17 };
        Assert.InRange(bits, format == WeightFormat.Int8 ? 8 : 4, most);
        // A step reads what is there: no second copy of a weight, in whatever form.
        Gradients(model, new NolaOptions { Rank = 2, Bases = 12, Targets = ["*"] }, TinyModels.Pairs(new Random(2), 5, 61));
        Assert.Equal(kept, model.Maps.Sum(map => map.Frozen!.Bytes));
    }

    [Fact]
    public void A_map_that_an_adapter_is_merged_into_is_kept_in_bfloat16()
    {
        using LanguageModel model = LanguageModel.Load(Whole("llama"), device, format: WeightFormat.Nf4);
        EncodedPair[] pairs = TinyModels.Pairs(new Random(2), 5, 61);
        string file = Path.Combine(directory, "adapter.safetensors");
        using (TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 2, Targets = ["q_proj"] }))
        {
            TinyModels.Randomize(adapter, new Random(1), 0.3);
            AdapterFile.Save(adapter, file);
        }
        using LoadedAdapter loaded = AdapterFile.Load(file, model);
        double with = Evaluation.Loss(model, pairs, loaded).Loss, without = Evaluation.Loss(model, pairs).Loss;
        loaded.Merge();
        Assert.Equal(WeightFormat.BFloat16, model.Map("model.layers.0.self_attn.qkv_proj").Frozen!.Format);
        Assert.Equal(WeightFormat.Nf4, model.Map("model.layers.0.mlp.down_proj").Frozen!.Format);
        // bfloat16 rounds the merged maps by 2⁻⁹ of their values, NF4 would by a tenth.
        Assert.Equal(with, Evaluation.Loss(model, pairs).Loss, 0.02);
        Assert.True(Math.Abs(with - without) > 0.05, $"{with} and {without}");
    }

    private string Whole(string family)
    {
        string place = Path.Combine(directory, family);
        if (Directory.Exists(place)) return place;
        ModelConfig config = family == "llama" ? llama : new Gpt2Config(2, 3, 24, 61, 40);
        using LanguageModel model = LanguageModel.Create(config, device, 3);
        // Initial values are small and alike; larger ones of many sizes show more.
        Random r = new(5);
        foreach (Parameter p in model.Parameters)
            if (p.Shape.Rank == 2) device.Upload(OpCheck.Values(r, p.Shape.Length, 0.2 + 0.3 * r.NextDouble()), p.Value);
        model.Save(place);
        return place;
    }

    // The checkpoint with the values that codes of its maps stand for.
    private string Rounded(string place, WeightFormat format, Func<string, bool>? which = null)
    {
        string to = $"{place}-rounded";
        Directory.CreateDirectory(to);
        using Safetensors whole = Safetensors.Open(Path.Combine(place, "model.safetensors"));
        SafetensorsWriter.Write(Path.Combine(to, "model.safetensors"), whole.Entries.Select(entry =>
        {
            Shape shape = Shape.Create([.. entry.Shape.Select(d => (int)d)]);
            float[] values = whole.ReadFinite(entry);
            if (!IsOfMap(entry.Name) || which?.Invoke(entry.Name) == false) return new SafetensorsTensor(entry.Name, shape, values);
            bool straight = entry.Name.StartsWith("h.", StringComparison.Ordinal);
            float[] outIn = straight ? Turned(values, shape[0], shape[1]) : values;
            (int outputs, int inputs) = straight ? (shape[1], shape[0]) : (shape[0], shape[1]);
            float[] rounded = QuantizedMatrix.Of(format, outIn, outputs, inputs).Values();
            return new SafetensorsTensor(entry.Name, shape, straight ? Turned(rounded, outputs, inputs) : rounded);
        }));
        File.Copy(Path.Combine(place, "config.json"), Path.Combine(to, "config.json"), overwrite: true);
        return to;
    }

    // The checkpoint as bitsandbytes saves it.
    private string Quantized(string place, WeightFormat format, Func<string, bool>? which = null, Action<RawTensors>? change = null)
    {
        string to = $"{place}-codes";
        Directory.CreateDirectory(to);
        using Safetensors whole = Safetensors.Open(Path.Combine(place, "model.safetensors"));
        RawTensors tensors = new();
        foreach (SafetensorsEntry entry in whole.Entries)
        {
            int[] shape = [.. entry.Shape.Select(d => (int)d)];
            if (!IsOfMap(entry.Name) || which?.Invoke(entry.Name) == false)
            {
                tensors.Add(entry.Name, entry.Type, shape, whole.Bytes(entry).ToArray());
                continue;
            }
            bool straight = entry.Name.StartsWith("h.", StringComparison.Ordinal);
            float[] values = whole.ReadFinite(entry);
            (int outputs, int inputs) = straight ? (shape[1], shape[0]) : (shape[0], shape[1]);
            tensors.Add(entry.Name, QuantizedMatrix.Of(format, straight ? Turned(values, shape[0], shape[1]) : values, outputs, inputs));
        }
        change?.Invoke(tensors);
        tensors.Write(Path.Combine(to, "model.safetensors"));
        string config = File.ReadAllText(Path.Combine(place, "config.json")).TrimEnd().TrimEnd('}');
        string kind = format == WeightFormat.Int8 ? "\"load_in_8bit\": true" : "\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"nf4\"";
        File.WriteAllText(
            Path.Combine(to, "config.json"), $"{config}, \"quantization_config\": {{{kind}, \"quant_method\": \"bitsandbytes\"}} }}");
        return to;
    }

    private static bool IsOfMap(string name) => name.EndsWith(".weight", StringComparison.Ordinal)
        && (name.Contains("_proj") || name.Contains("c_attn") || name.Contains("c_fc"));

    private float[] Gradients(LanguageModel model, AdapterOptions options, EncodedPair[] pairs)
    {
        using TrainableAdapter adapter = model.NewAdapter(options);
        TinyModels.Randomize(adapter, new Random(1), 0.2);
        using StreamTensors batch = new(device, TokenStreams.FromPairs(pairs).With(adapter));
        using Tape tape = new(device);
        Variable loss = model.Loss(tape, batch, 0, 0.1f);
        tape.Backward(loss);
        adapter.CollectGradients();
        return [loss.Value.Item(), .. adapter.Parameters.SelectMany(p => p.Gradient.ToArray())];
    }

    private static float[] Turned(float[] matrix, int rows, int columns)
    {
        float[] turned = new float[matrix.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) turned[j * rows + i] = matrix[i * columns + j];
        return turned;
    }
}
