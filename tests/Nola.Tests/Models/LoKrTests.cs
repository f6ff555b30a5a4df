using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>LoKr's files of PEFT, and what is refused. Its output and gradients are in <see cref="AdapterMethodContract"/>.</summary>
public sealed class LoKrTests : IDisposable
{
    private const string Module = "base_model.model.model.layers.1.mlp.down_proj.";

    private readonly CpuDevice device = new(2);
    private readonly LanguageModel model;
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public LoKrTests() =>
        model = LanguageModel.Load(Path.Combine(AppContext.BaseDirectory, "data", "golden", "llm", "llama-gqa"), device);

    public void Dispose()
    {
        model.Dispose();
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    // The examples of PEFT's factorization, one where the factor is the larger part, and one that it does not divide.
    [Theory]
    [InlineData(256, -1, 16, 16)]
    [InlineData(128, -1, 8, 16)]
    [InlineData(127, -1, 1, 127)]
    [InlineData(128, 4, 4, 32)]
    [InlineData(128, 32, 32, 4)]
    [InlineData(12, 5, 3, 4)]
    [InlineData(96, 5, 4, 24)]
    public void A_side_is_divided_as_in_PEFT(int side, int factor, int first, int second)
    {
        LoKrMethod.Sides sides = LoKrMethod.Sides.Of(side, side, new LoKrOptions { Factor = factor });
        Assert.Equal((first, second, first, second), (sides.M, sides.N, sides.L, sides.K));
    }

    // torch.kron of what PEFT writes, added to a weight (out, in) as PEFT adds it.
    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    public void PEFTs_directory_adds_the_Kronecker_product(int rank)
    {
        AdaptableMap map = model.AdaptableMaps.Single(map => map.Name.EndsWith("layers.1.mlp.down_proj", StringComparison.Ordinal));
        LoKrMethod.Sides s = LoKrMethod.Sides.Of(map.In, map.Out, new LoKrOptions { Rank = rank });
        Assert.Equal(rank == 8, s.IsWhole);
        Random r = new(rank);
        float[] w1 = OpCheck.Values(r, s.L * s.M, 0.5), a = OpCheck.Values(r, s.K * rank, 0.5), b = OpCheck.Values(r, rank * s.N, 0.5);
        float[] whole = OpCheck.Values(r, s.K * s.N, 0.5);
        double[] w2 = s.IsWhole ? OpCheck.Wide(whole) : Reference.MatMul(OpCheck.Wide(a), OpCheck.Wide(b), s.K, rank, s.N);
        Write(rank, 4,
            [
                new(Module + "lokr_w1", [s.L, s.M], w1),
                .. s.IsWhole
                    ? (SafetensorsTensor[])[new(Module + "lokr_w2", [s.K, s.N], whole)]
                    : [new(Module + "lokr_w2_a", [s.K, rank], a), new(Module + "lokr_w2_b", [rank, s.N], b)],
            ]);
        using LoadedAdapter adapter = PeftFiles.Load(directory, model);
        float[] made = ((WeightStack)adapter.Stacks.Single()).Weight.Value.ToArray();               // (1, in, out)
        double[] expected = new double[map.In * map.Out];
        for (int o = 0; o < map.Out; o++)
            for (int i = 0; i < map.In; i++)
                expected[i * map.Out + o] = 4.0 / rank * w1[o / s.K * s.M + i / s.N] * w2[o % s.K * s.N + i % s.N];
        OpCheck.Close(expected, made, 1e-6);
    }

    [Fact]
    public void Files_that_are_not_whole_or_of_other_settings_are_refused()
    {
        AdaptableMap map = model.AdaptableMaps.Single(map => map.Name.EndsWith("layers.1.mlp.down_proj", StringComparison.Ordinal));
        LoKrMethod.Sides s = LoKrMethod.Sides.Of(map.In, map.Out, new LoKrOptions { Rank = 1 });
        SafetensorsTensor w1 = new(Module + "lokr_w1", [s.L, s.M], new float[s.L * s.M]);
        SafetensorsTensor a = new(Module + "lokr_w2_a", [s.K, 1], new float[s.K]), b = new(Module + "lokr_w2_b", [1, s.N], new float[s.N]);
        Write(1, 4, [w1, a]);
        Assert.Contains("has no lokr_w2_b of model.layers.1.mlp.down_proj, which r = 1 and decompose_factor = -1 ask for", Refused());
        Write(64, 4, [w1, a, b]);
        Assert.Contains("has no lokr_w2 of model.layers.1.mlp.down_proj", Refused());
        Write(1, 4, [w1, a, b, new(Module + "lokr_w2", [1], new float[1])]);
        Assert.Contains("has lokr_w2 of model.layers.1.mlp.down_proj, which r = 1 and decompose_factor = -1 do not ask for", Refused());
        Write(1, 4, [w1, a, b, new(Module + "lokr_t2", [1], new float[1])]);
        Assert.Contains("is not a LoKr factor; expected lokr_w1, and lokr_w2 or lokr_w2_a and lokr_w2_b", Refused());
        Write(1, 4, [new(Module + "lokr_w1", [s.M + 1, s.L], new float[(s.M + 1) * s.L]), a, b]);
        Assert.Contains("r = 1 and decompose_factor = -1 need", Refused());
        Write(1, 4, [w1, a, b], ", \"decompose_both\": true");
        Assert.Contains("'decompose_both' is 'true'; only LoKr with one rank for all maps and with w1 whole can be loaded", Refused());
        Write(1, -1, [w1, a, b]);
        Assert.Contains("alpha is '-1'; expected a finite number above 0", Refused());
        Write(1, 4, [w1, a, b], ", \"decompose_factor\": 0");
        Assert.Contains("decompose_factor is '0'; expected a whole number from 1, or -1", Refused());
    }

    [Fact]
    public void On_GPT_2_it_is_no_adapter_of_PEFTs()
    {
        using LanguageModel gpt2 = TinyModels.Create(device);
        using TrainableAdapter adapter = gpt2.NewAdapter(new LoKrOptions { Targets = ["mlp.c_fc"] });
        Assert.Contains(
            "PEFT's LoKr is on Linear modules, and h.0.mlp.c_fc is a Conv1D",
            Assert.Throws<NolaException>(() => PeftFiles.Save(adapter, directory)).Message);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-2)]
    public void A_factor_that_divides_nothing_is_refused(int factor)
    {
        string message = Assert.Throws<NolaException>(() => model.NewAdapter(new LoKrOptions { Factor = factor })).Message;
        Assert.Equal($"decompose-factor is {factor}; expected a whole number from 1, or -1.", message);
    }

    private string Refused()
    {
        long live = device.Pool.LiveBytes;
        string message = Assert.Throws<NolaException>(() => PeftFiles.Load(directory, model)).Message;
        Assert.Equal(live, device.Pool.LiveBytes);
        return message;
    }

    private void Write(int rank, int alpha, SafetensorsTensor[] tensors, string more = "")
    {
        SafetensorsWriter.Write(Path.Combine(directory, "adapter_model.safetensors"), tensors);
        File.WriteAllText(
            Path.Combine(directory, "adapter_config.json"),
            $$"""{"peft_type": "LOKR", "r": {{rank}}, "alpha": {{alpha}}, "target_modules": ["layers.1.mlp.down_proj"]{{more}}}""");
    }
}
