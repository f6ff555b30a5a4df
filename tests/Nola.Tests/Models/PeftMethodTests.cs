using System.Text.Json;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Adapter directories that PEFT 0.17.1 wrote, and what it computes of them in float64 (data/golden/peft): logits, losses,
/// gradients, AdamW's losses and merged losses; and the same after our own files and directories.
/// </summary>
public sealed class PeftMethodTests : IDisposable
{
    private static readonly string place = Path.Combine(AppContext.BaseDirectory, "data", "golden", "peft");

    private readonly CpuDevice device = new(2);
    private readonly LanguageModel model;
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(place, "case.json"))).RootElement;

    public PeftMethodTests() => model = LanguageModel.Load(TinyModels.Golden, device);

    public static TheoryData<string> Trained =>
    [
        "vera-all", "vera-c_attn-key7", "lora-bias-all", "lora-bias-lora_only", "lora-modules_to_save", "fourierft", "ia3", "vblora",
        "randlora-key7",
    ];

    // Beside them, what can only be read.
    public static TheoryData<string> Cases => [.. Trained, "vblora-topk"];

    public void Dispose()
    {
        model.Dispose();
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Logits_and_losses_are_PEFTs(string name)
    {
        using LoadedAdapter adapter = PeftFiles.Load(Path.Combine(place, name), model);
        CheckOutputs(name, adapter);
    }

    [Theory]
    [MemberData(nameof(Trained))]
    public void Gradients_and_AdamW_losses_are_PEFTs(string name)
    {
        using TrainableAdapter adapter = Trainable(name);
        TokenStream stream = TokenStreams.FromPairs(Pairs).With(adapter);
        TrainOptions options = new() { Beta1 = 0.9f, Beta2 = 0.999f, Epsilon = 1e-8f, WeightDecay = 0.01f, ClipNorm = 0 };
        using AdamW optimizer = new(adapter.Parameters, options);
        double[] losses = [.. Number(name).GetProperty("adamw_losses").EnumerateArray().Select(v => v.GetDouble())];
        for (int step = 0; step < losses.Length; step++)
        {
            // The tolerances of the golden values' description: PEFT's own float32 run is within 5e-6 of a gradient's largest entry.
            // Its AdamW decays biases too, which moves the losses of these steps by less than 1e-5.
            Assert.Equal(losses[step], Backward(stream, adapter), step == 0 ? 2e-5 : 1e-4);
            if (step == 0) CheckGradients(name, adapter);
            optimizer.Step(0.01f, optimizer.GradientNorm());
            adapter.Update();
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Merged_saved_and_exported_again_it_is_the_same_adapter(string name)
    {
        string file = Path.Combine(directory, "a"), again = Path.Combine(directory, "again"), lora = Path.Combine(directory, "lora");
        string[] written = [file, again];
        using (TrainableAdapter adapter = Trainable(name))
        {
            AdapterFile.Save(adapter, file);
            PeftFiles.Save(adapter, again);
            if (adapter.Stacks.OfType<MapStack>().All(stack => stack.Factors(0) is not null))
            {
                PeftFiles.Save(adapter, lora, asLora: true);
                written = [file, again, lora];
            }
        }
        foreach (string path in written)
        {
            using LoadedAdapter loaded = AdapterFile.Load(path, model);
            CheckOutputs(name, loaded);
        }
        using LoadedAdapter last = AdapterFile.Load(file, model);
        last.Merge();
        // PEFT cannot merge FourierFT into GPT-2's weights, which are (in, out); a right merge keeps the loss.
        double merged = Number(name).GetProperty(name == "fourierft" ? "loss" : "merged_loss").GetDouble();
        Assert.Equal(merged, Evaluation.Loss(model, Pairs).Loss, 2e-5);
    }

    [Fact]
    public void A_projection_of_a_key_is_PEFTs_to_the_last_bit()
    {
        using Safetensors file = Safetensors.Open(Path.Combine(place, "vera-all", "adapter_model.safetensors"));
        using LoadedAdapter adapter = PeftFiles.Load(Path.Combine(place, "vera-all"), model);
        (float[] a, float[] b) = VeraMethod.Projections((VeraOptions)adapter.Options, adapter.Groups);
        Assert.Equal(file.ReadFinite(file.Get("base_model.vera_A")), a);
        Assert.Equal(file.ReadFinite(file.Get("base_model.vera_B")), b);
    }

    [Theory]
    [InlineData("base_model.model.transformer.ln_f.bias", "has no bias of ln_f")]
    [InlineData("base_model.model.transformer.h.0.attn.c_attn.lora_B.weight", "h.0.attn.c_attn has only one of lora_A and lora_B")]
    public void A_missing_bias_or_factor_is_named(string tensor, string expected)
    {
        Copy("lora-bias-all", all => all.RemoveAll(t => t.Name == tensor));
        Assert.Contains(expected, Refused());
    }

    [Fact]
    public void A_bias_that_nothing_asks_for_is_refused()
    {
        Copy("lora-bias-all", _ => { });
        string config = Path.Combine(directory, "adapter_config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"all\"", "\"lora_only\""));
        Assert.Contains("which the configuration's bias does not ask for", Refused());
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"lora_only\"", "\"some\""));
        Assert.Contains("expected 'none', 'all' or 'lora_only'", Refused());
    }

    [Theory]
    [InlineData("vera_lambda_b", "has only one of vera_lambda_d and vera_lambda_b")]
    [InlineData("vera_A", "has only one of base_model.vera_A and base_model.vera_B")]
    public void Half_a_VeRA_is_refused(string tensor, string expected)
    {
        Copy("vera-all", all => all.RemoveAt(all.FindIndex(t => t.Name.EndsWith(tensor))));
        Assert.Contains(expected, Refused());
    }

    [Theory]
    [InlineData(
        "fourierft", "h.0.attn.c_attn.fourierft_spectrum", null,
        "has no spectra for transformer.h.0.attn.c_attn, which target_modules")]
    [InlineData(
        "fourierft", "h.0.attn.c_attn.fourierft_spectrum", "h.0.attn.c_attn.x",
        "is not a FourierFT spectrum; expected fourierft_spectrum")]
    [InlineData("ia3", "h.1.mlp.c_proj.ia3_l", null, "has no vectors for transformer.h.1.mlp.c_proj, which target_modules")]
    [InlineData("ia3", "h.1.mlp.c_proj.ia3_l", "h.1.mlp.c_proj.l", "is not an IA3 vector; expected ia3_l")]
    [InlineData("vblora", "base_model.vblora_vector_bank", null, "has no base_model.vblora_vector_bank; the file is not whole")]
    [InlineData(
        "vblora", "h.1.attn.c_attn.vblora_logits_B", null,
        "h.1.attn.c_attn has no vblora_logits_B, which save_only_topk_weights false")]
    [InlineData("vblora-topk", "h.0.attn.c_attn.vblora_logits_A_topk_weights", null, "h.0.attn.c_attn has no vblora_logits_A_topk_weights")]
    [InlineData(
        "randlora-key7", "h.0.attn.c_attn.randlora_gamma", null,
        "h.0.attn.c_attn has only one of randlora_lambda and randlora_gamma")]
    [InlineData("randlora-key7", "h.0.attn.c_attn.randlora_gamma", "h.0.attn.c_attn.g", "is not of RandLoRA; expected randlora_lambda and")]
    public void A_tensor_that_is_missing_or_of_another_name_is_named(string name, string tensor, string? renamed, string expected)
    {
        Copy(name, all =>
        {
            int at = all.FindIndex(t => t.Name.EndsWith(tensor));
            if (renamed is null) all.RemoveAt(at);
            else all[at] = new(all[at].Name.Replace(tensor, renamed), all[at].Shape, all[at].Values());
        });
        Assert.Contains(expected, Refused());
    }

    [Theory]
    [InlineData(
        "fourierft", "\"n_frequency\": 50", "\"n_frequency\": 51",
        "fourierft_spectrum' has shape [50]; n_frequency = 51 need [51]")]
    [InlineData("fourierft", "\"n_frequency\": 50", "\"n_frequency\": 0", "n_frequency is '0'; expected a whole number from 1")]
    [InlineData("fourierft", "\"scaling\": 150.0", "\"scaling\": -1", "scaling is '-1'; expected a finite number above 0")]
    [InlineData(
        "fourierft", "\"random_loc_seed\": 777", "\"random_loc_seed\": -1",
        "random_loc_seed is '-1'; expected a whole number from 0 to")]
    [InlineData("fourierft", "\"n_frequency_pattern\": {}", "\"n_frequency_pattern\": {\"q\": 3}", "'n_frequency_pattern' is")]
    [InlineData("fourierft", "\"scaling\": 150.0", "\"ifft2_norm\": \"ortho\"", "ifft2_norm is '\"ortho\"'; expected 'backward'")]
    [InlineData("fourierft", "\"bias\": \"none\"", "\"bias\": \"all\"", "bias is '\"all\"'; expected 'none'")]
    [InlineData(
        "ia3", "\"mlp.c_proj\"\n  ],\n  \"inference", "\"c_attn\"\n  ],\n  \"inference",
        "has shape [144, 1]; this model and feedforward_modules need [1, 48]")]
    [InlineData("vblora", "\"topk\": 2", "\"topk\": 21", "topk is 21; expected 1 to 20, the number of vectors")]
    [InlineData(
        "vblora", "\"vector_length\": 24", "\"vector_length\": 7",
        "vblora_vector_bank' has shape [20, 24]; num_vectors and vector_length need [20, 7]")]
    [InlineData(
        "vblora", "\"save_only_topk_weights\": false", "\"save_only_topk_weights\": true",
        "has no vblora_logits_A_topk_indices, which save_only_topk_weights true")]
    [InlineData(
        "vblora-topk", "\"topk\": 2", "\"topk\": 3",
        "is U8 [4, 2, 2]; this model, r, num_vectors, vector_length and topk need whole numbers [4, 2, 3]")]
    [InlineData("vblora-topk", "\"num_vectors\": 20", "\"num_vectors\": 3", "vblora_vector_bank' has shape [20, 24]")]
    [InlineData(
        "randlora-key7", "\"sparse\": false", "\"sparse\": true",
        "'sparse' is 'true'; only RandLoRA with dense bases and without trained biases can be loaded")]
    [InlineData("randlora-key7", "\"r\": 8", "\"r\": 9", "this model and r = 9 need")]
    [InlineData(
        "randlora-key7", "\"randlora_alpha\": 16", "\"randlora_alpha\": 0",
        "randlora_alpha is '0'; expected a finite number above 0")]
    public void A_configuration_that_does_not_fit_the_file_is_named(string name, string from, string to, string expected)
    {
        Copy(name, _ => { });
        string config = Path.Combine(directory, "adapter_config.json"), text = File.ReadAllText(config);
        Assert.Contains(from, text);
        File.WriteAllText(config, text.Replace(from, to));
        Assert.Contains(expected, Refused());
    }

    [Fact]
    public void Chosen_vectors_that_are_none_are_refused()
    {
        Copy("vblora-topk", _ => { });
        string path = Path.Combine(directory, "adapter_model.safetensors");
        byte[] bytes = File.ReadAllBytes(path);
        using (Safetensors file = Safetensors.Open(path))
        {
            int at = bytes.AsSpan().IndexOf(
                file.Bytes(file.Get("base_model.model.transformer.h.0.attn.c_attn.vblora_logits_B_topk_indices")));
            bytes[at + 1] = bytes[at];
        }
        File.WriteAllBytes(path, bytes);
        Assert.Contains("none twice, and weights from 0 to 1", Refused());
    }

    private void CheckOutputs(string name, LoadedAdapter adapter)
    {
        using Safetensors expected = Safetensors.Open(Path.Combine(place, name, "expected.safetensors"));
        int[][] sequences = [.. golden.GetProperty("sequences").EnumerateArray().Select(TinyModels.Ids)];
        for (int i = 0; i < sequences.Length; i++)
            OpCheck.Close(OpCheck.Wide(expected.ReadFinite(expected.Get($"logits.{i}"))), model.Logits(sequences[i], adapter), 1e-4);
        Assert.Equal(Number(name).GetProperty("loss").GetDouble(), Evaluation.Loss(model, Pairs, adapter).Loss, 2e-5);
    }

    private void CheckGradients(string name, TrainableAdapter adapter)
    {
        using Safetensors expected = Safetensors.Open(Path.Combine(place, name, "expected.safetensors"));
        int compared = 0;
        foreach (DeltaStack stack in adapter.Stacks)
        {
            foreach (Parameter p in stack.Parameters)
            {
                float[][] rows = stack.Layers.Count == 0
                    ? [p.Gradient.ToArray()]
                    : [.. p.Gradient.ToArray().Chunk(p.Shape.Length / stack.Layers.Count)];
                for (int row = 0; row < rows.Length; row++, compared++)
                {
                    double[] wanted = OpCheck.Wide(Wanted(expected, stack, p, row));
                    double largest = wanted.Max(Math.Abs);
                    Assert.Equal(wanted.Length, rows[row].Length);
                    Assert.All(
                        wanted.Zip(rows[row]),
                        pair => Assert.InRange(pair.Second, pair.First - 1e-4 * largest, pair.First + 1e-4 * largest));
                }
            }
        }
        Assert.Equal(expected.Entries.Count(entry => entry.Name.StartsWith("grad.")), compared);
    }

    // PEFT's gradient of a part of ours: LoRA's factors are transposed there, and two dimensions of the logits of VB-LoRA's B exchanged.
    private static float[] Wanted(Safetensors expected, DeltaStack stack, Parameter p, int row)
    {
        if (stack.Layers.Count == 0) return Read("grad.base_model.vblora_vector_bank");
        string layer = $"grad.base_model.model.transformer.{stack.Layers[row].Name}.", end = p.Name[(p.Name.LastIndexOf('.') + 1)..];
        return (end, stack) switch
        {
            ("weight", HeadStack) => Read("grad.base_model.model." + p.Name),
            ("bias", _) => Read(layer + (expected.TryGet(layer + "base_layer.bias", out _) ? "base_layer.bias" : "bias")),
            ("d", _) => Read(layer + "vera_lambda_d"),
            ("b", _) => Read(layer + "vera_lambda_b"),
            ("l", _) => Read(layer + "ia3_l"),
            ("c", _) => Read(layer + "fourierft_spectrum"),
            ("lambda", _) => Read(layer + "randlora_lambda"),
            ("gamma", _) => Read(layer + "randlora_gamma"),
            ("A", VbLoraMethod.Stack) => Read(layer + "vblora_logits_A"),
            ("B", VbLoraMethod.Stack) => Exchanged(Read(layer + "vblora_logits_B"), p.Shape[1], p.Shape[2], p.Shape[3]),
            _ => Exchanged(Read($"{layer}lora_{end}.weight"), p.Shape[1], p.Shape[2], 1),
        };

        float[] Read(string name) => expected.ReadFinite(expected.Get(name));

        // (columns, rows, size) to (rows, columns, size).
        static float[] Exchanged(float[] theirs, int rows, int columns, int size)
        {
            float[] ours = new float[theirs.Length];
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < columns; j++)
                    theirs.AsSpan((j * rows + i) * size, size).CopyTo(ours.AsSpan((i * columns + j) * size));
            return ours;
        }
    }

    private TrainableAdapter Trainable(string name)
    {
        using LoadedAdapter loaded = PeftFiles.Load(Path.Combine(place, name), model);
        TrainableAdapter adapter = model.NewAdapter(loaded.Options);
        foreach ((Parameter to, Parameter from) in adapter.Parameters.Zip(loaded.Stacks.SelectMany(stack => stack.Parameters)))
            device.Upload(from.Value.ToArray(), to.Value);
        // As PEFT's optimizer trains them, all at one rate.
        foreach (Parameter parameter in adapter.Parameters) parameter.RateFactor = 1;
        adapter.Update();
        return adapter;
    }

    private double Backward(TokenStream stream, TrainableAdapter adapter)
    {
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device);
        Variable loss = model.Loss(tape, batch, 0, 1f / stream.Targets.Length);
        tape.Backward(loss);
        adapter.CollectGradients();
        return loss.Value.Item();
    }

    private void Copy(string name, Action<List<SafetensorsTensor>> change)
    {
        const string Weights = "adapter_model.safetensors";
        File.Copy(Path.Combine(place, name, "adapter_config.json"), Path.Combine(directory, "adapter_config.json"));
        AdapterFiles.Change(Path.Combine(place, name, Weights), Path.Combine(directory, Weights), null, change);
    }

    private string Refused()
    {
        long before = device.Pool.LiveBytes;
        string message = Assert.Throws<NolaException>(() => AdapterFile.Load(directory, model)).Message;
        Assert.Equal(before, device.Pool.LiveBytes);
        // Whatever is wrong, the directory is named.
        Assert.Contains(directory, message);
        return message;
    }

    private JsonElement Number(string name) => golden.GetProperty("cases").GetProperty(name).GetProperty("float64");

    private EncodedPair[] Pairs => [.. golden.GetProperty("pairs").EnumerateArray().Select(pair =>
        new EncodedPair(TinyModels.Ids(pair.GetProperty("context")), TinyModels.Ids(pair.GetProperty("completion"))))];
}
