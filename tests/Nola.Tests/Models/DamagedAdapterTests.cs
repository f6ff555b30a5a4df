using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Adapter files that contradict themselves or the model: one sentence, no adapter on the model, no memory taken.</summary>
public sealed class DamagedAdapterTests : IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly LanguageModel model;
    private readonly string nola, lora, packed;

    public DamagedAdapterTests()
    {
        model = LanguageModel.Load(TinyModels.Golden, device);
        (nola, lora, packed) = (Path.Combine(directory, "nola"), Path.Combine(directory, "lora"), Path.Combine(directory, "packed"));
        using (TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 2, Bases = 6, Targets = ["q", "mlp.*"] }))
            AdapterFile.Save(adapter, nola);
        using (TrainableAdapter adapter = model.NewAdapter(new LoraOptions { Rank = 2 })) AdapterFile.Save(adapter, lora);
        AdapterQuantization.Quantize(nola, 4, packed);
    }

    public void Dispose()
    {
        model.Dispose();
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData("alpha", "1,6", "'alpha' = '1,6'")]
    [InlineData("alpha", "NaN", "'alpha' = 'NaN'")]
    [InlineData("alpha", "1e39", "'alpha' = '1e39'")]
    [InlineData("alpha", "-8", "alpha is -8; expected a finite number above 0")]
    [InlineData("rank", " 2", "'rank' = ' 2'")]
    [InlineData("rank", "2.0", "'rank' = '2.0'")]
    [InlineData("rank", "0", "rank is 0; expected 1 to 192")]
    [InlineData("rank", "100000000", "rank is 100000000; expected 1 to 192, the longest side")]
    [InlineData("bases_a", "1000000", "needs F32 [2, 1000000]")]
    [InlineData("bases_b", "-6", "bases-b is -6")]
    [InlineData("sharing", "pre-layer", "its sharing is 'pre-layer'; expected shared or per-layer")]
    [InlineData("entries", "0", "its entries is '0'; expected uniform, normal or sign")]
    [InlineData("variant", "Offset", "its variant is 'Offset'; expected offset or paper")]
    [InlineData("method", "dora", "its method is 'dora'; expected nola or lora")]
    [InlineData("method", "lora", "which no lora file of format 'nola-adapter/1' has")]
    [InlineData("seed", "-1", "'seed' = '-1'")]
    [InlineData("format", "nola-adapter/9", "its format is 'nola-adapter/9'")]
    [InlineData("targets", "q,nothing", "targets: 'nothing' matches no linear map")]
    [InlineData("targets", "h.0.attn.q,mlp.*", "has shape [2, 6]")]
    [InlineData("targets", "h.*q,v,mlp.*", "'attn.v.A' is missing")]
    [InlineData("targets", "q,mlp.c_fc", "tensor 'mlp.c_proj.A' belongs to no map of its targets")]
    [InlineData("layers.attn.q", "0", "'layers.attn.q' = '0' and its targets make it '0,1'")]
    [InlineData("layers.attn.v", "0,1", "'layers.attn.v' = '0,1' and its targets make it ''")]
    [InlineData("layers.attn.x", "0,1", "has 'layers.attn.x' = '0,1' and its targets make it ''")]
    [InlineData("bits", "4", "has 'bits', which no nola file of format 'nola-adapter/1' has")]
    [InlineData("dropout", "0.1", "has 'dropout', which no nola file")]
    [InlineData("base_identity", "", "is another one")]
    public void Metadata_that_is_never_written_is_refused_by_name(string key, string value, string expected) =>
        Assert.Contains(expected, Refused(nola, data => data[key] = value));

    [Theory]
    [InlineData("fingerprint")]
    [InlineData("sharing")]
    [InlineData("base_model")]
    [InlineData("alpha")]
    public void Metadata_that_is_missing_is_named(string key) => Assert.Contains($"lacks '{key}'", Refused(nola, data => data.Remove(key)));

    [Fact]
    public void Missing_layers_are_a_contradiction() =>
        Assert.Contains("'layers.mlp.c_fc' = '' and its targets make it '0,1'", Refused(nola, data => data.Remove("layers.mlp.c_fc")));

    [Fact]
    public void Hundreds_of_stars_are_answered_at_once() =>
        Assert.Contains("matches no linear map", Refused(nola, data => data["targets"] = string.Concat(Enumerable.Repeat("*a", 300))));

    [Theory]
    [InlineData(float.NaN, "NaN")]
    [InlineData(float.NegativeInfinity, "infinity")]
    public void A_coefficient_or_factor_that_is_not_finite_is_named(float value, string said)
    {
        Assert.Contains($"element 3 of tensor 'mlp.c_fc.B' is {said}", Refused(nola, null, all => Set(all, "mlp.c_fc.B", value)));
        Assert.Contains($"element 3 of tensor 'attn.v.A' is {said}", Refused(lora, null, all => Set(all, "attn.v.A", value)));
        string bad = Path.Combine(directory, "bad");
        AdapterFiles.Change(nola, bad, null, all => Set(all, "mlp.c_fc.B", value));
        Assert.Contains("'mlp.c_fc.B'", Assert.Throws<NolaException>(() => AdapterQuantization.Quantize(bad, 4, bad + "q")).Message);

        static void Set(List<SafetensorsTensor> all, string name, float value)
        {
            int at = all.FindIndex(t => t.Name == name);
            float[] values = all[at].Values();
            values[3] = value;
            all[at] = new SafetensorsTensor(name, all[at].Shape, values);
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(-0.5f)]
    [InlineData(3e38f)]
    [InlineData(1e-39f)]
    [InlineData(0.1f)]
    public void A_step_that_is_never_written_is_refused(float step) =>
        Assert.Contains("'attn.q.A.codes' has a code or a step that is never written", Refused(packed, null, all =>
        {
            int at = all.FindIndex(t => t.Name == "attn.q.A.steps");
            all[at] = new SafetensorsTensor("attn.q.A.steps", [2], [step, 0.5f]);
        }));

    [Fact]
    public void What_cannot_be_loaded_is_not_quantized()
    {
        string bad = Path.Combine(directory, "bad");
        AdapterFiles.Change(nola, bad, data => data["alpha"] = "1,6");
        Assert.Contains("'alpha' = '1,6'", Quantize());
        AdapterFiles.Change(nola, bad, data => data["sharing"] = "pre-layer");
        Assert.Contains("its sharing is 'pre-layer'", Quantize());
        AdapterFiles.Change(
            nola, bad, null, all => all[0] = new SafetensorsTensor(all[0].Name, all[0].Shape, [.. Enumerable.Repeat(2e38f, 12)]));
        Assert.Contains("tensor 'attn.q.A': A coefficient is not a finite number below 2¹²⁷", Quantize());
        Assert.False(File.Exists(bad + "q"));

        string Quantize() => Assert.Throws<NolaException>(() => AdapterQuantization.Quantize(bad, 4, bad + "q")).Message;
    }

    [Fact]
    public void Tensors_of_nothing_and_of_other_types_are_refused()
    {
        Assert.Contains("tensor 'more' belongs to no map", Refused(nola, null, all => all.Add(new SafetensorsTensor("more", [1], [1]))));
        Assert.Contains("'attn.q.A' is missing", Refused(nola, null, all => all.RemoveAll(t => t.Name == "attn.q.A")));
        Assert.Contains("is BF16 and has shape [2, 6]", Refused(nola, null, all => all[0] = all[0] with { Type = DType.BFloat16 }));
        Assert.Contains("'values' = '5' and its tensors hold 72", Refused(packed, data => data["values"] = "5"));
    }

    [Fact]
    public void A_small_file_cannot_ask_for_much_memory()
    {
        // The factors of a NOLA file have no tensor that proves their rank.
        long before = device.Pool.LiveBytes;
        device.Pool.ResetPeak();
        Refused(nola, data => data["rank"] = "2000000000");
        Refused(nola, data => data["bases_a"] = "1000000");
        Refused(lora, data => data["rank"] = "96");
        Assert.Equal(before, device.Pool.PeakBytes);
    }

    [Fact]
    public void Settings_out_of_range_take_no_memory()
    {
        Assert.Contains("bases-a is 0", Attach(() => model.NewAdapter(new NolaOptions { BasesA = 0 })));
        Assert.Contains("bases-b is 1000001", Attach(() => model.NewAdapter(new NolaOptions { BasesB = 1_000_001 })));
        Assert.Contains("bits is 5", Attach(() => model.NewAdapter(new NolaOptions { QuantizeBits = 5 })));
        Assert.Contains("entries is 7", Attach(() => model.NewAdapter(new NolaOptions { Entries = (BasisEntries)7 })));
        Assert.Contains(
            "alpha is ∞", Attach(() => model.NewAdapter(new NolaOptions { Alpha = float.PositiveInfinity })).Replace("Infinity", "∞"));
        Assert.Contains("alpha is NaN", Attach(() => model.NewAdapter(new LoraOptions { Alpha = float.NaN })));
        Assert.Contains("rank is 100000000; expected 1 to 48", Attach(() => model.NewAdapter(new LoraOptions { Rank = 100_000_000 })));
        Assert.Contains("rank is 2147483647", Attach(() => model.NewAdapter(new NolaOptions { Rank = int.MaxValue, Targets = ["*"] })));
        Assert.Contains("matches no linear map", Attach(() => model.NewAdapter(new LoraOptions { Targets = ["q?"] })));

        string Attach(Func<Adapter> attach)
        {
            long before = device.Pool.LiveBytes;
            string message = Assert.Throws<NolaException>(attach).Message;
            Assert.Equal(before, device.Pool.LiveBytes);
            return message;
        }
    }

    private string Refused(string from, Action<Dictionary<string, string>>? metadata, Action<List<SafetensorsTensor>>? tensors = null)
    {
        string path = Path.Combine(directory, "changed");
        AdapterFiles.Change(from, path, metadata, tensors);
        long before = device.Pool.LiveBytes;
        string message = Assert.Throws<NolaException>(() => AdapterFile.Load(path, model)).Message;
        Assert.StartsWith(path, message);
        Assert.Equal(before, device.Pool.LiveBytes);
        return message;
    }
}
