using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Frequencies of rotary position embedding, and the table of their angles.</summary>
public sealed class RotaryFrequenciesTests
{
    [Fact]
    public void Default_frequencies_are_powers_of_theta()
    {
        double[] expected = [1, 0.1, 0.01, 0.001];
        RotaryFrequencies got = RotaryFrequencies.Default(10_000, 8);
        Assert.Equal(8, got.HeadSize);
        Assert.Equal(1, got.AttentionScaling);
        for (int j = 0; j < 4; j++) Assert.Equal(expected[j], got.Inverse[j], 1e-15);
    }

    [Fact]
    public void Linear_scaling_divides_all()
    {
        RotaryFrequencies got = RotaryFrequencies.Default(10_000, 4).Linear(4);
        Assert.Equal(0.25, got.Inverse[0]);
        Assert.Equal(0.0025, got.Inverse[1], 1e-17);
    }

    [Theory]
    [InlineData(0, 1)]                                  // short waves stay
    [InlineData(14, 0.0032114459947525913)]
    [InlineData(15, 0.001290547928209264)]              // between: three that are mixed
    [InlineData(16, 0.00042955679655936815)]
    [InlineData(17, 9.70828780262767e-05)]
    [InlineData(18, 1.9461638184831125e-05)]            // long waves are stretched 32 times
    [InlineData(31, 9.418306725434909e-08)]
    public void Llama_3_scaling_as_in_Llama_3_2_1B(int pair, double expected)
    {
        // Expected values: the formula of transformers' _compute_llama3_parameters, evaluated in Python.
        RotaryFrequencies got = RotaryFrequencies.Default(500_000, 64).Llama3(32, 1, 4, 8192);
        Assert.Equal(expected, got.Inverse[pair], 1e-13 * expected);
    }

    [Fact]
    public void The_table_has_near_angles_and_far_ones_with_the_scaling()
    {
        using CpuDevice device = new(1);
        RotaryFrequencies frequencies = new([1, 0.001], 1.5);
        using Tensor one = frequencies.Angles(device, 1), some = frequencies.Angles(device, 256), more = frequencies.Angles(device, 513);
        Assert.Equal([257, 4], one.Shape);
        Assert.Equal([257, 4], some.Shape);
        Assert.Equal([259, 4], more.Shape);
        float[] table = more.ToArray();
        Assert.Equal([1, 1, 0, 0], table[..4]);
        float[] last = [(float)Math.Cos(255), (float)Math.Cos(0.255), (float)Math.Sin(255), (float)Math.Sin(0.255)];
        Assert.Equal(last, table[(255 * 4)..(256 * 4)]);
        Assert.Equal([1.5f, 1.5f, 0, 0], table[(256 * 4)..(257 * 4)]);
        Assert.Equal((float)(1.5 * Math.Sin(512)), table[258 * 4 + 2]);
        Assert.Equal(some.ToArray(), table[..(257 * 4)]);
    }

    [Fact]
    public void What_makes_no_frequencies_is_named()
    {
        Assert.Contains("heads of 5 columns", Assert.Throws<ArgumentException>(() => RotaryFrequencies.Default(10_000, 5)).Message);
        Assert.Contains("theta 0", Assert.Throws<ArgumentException>(() => RotaryFrequencies.Default(0, 4)).Message);
        Assert.Contains("all finite", Assert.Throws<ArgumentException>(() => RotaryFrequencies.Default(10_000, 4).Linear(0)).Message);
        Assert.Contains("0 frequencies", Assert.Throws<ArgumentException>(() => new RotaryFrequencies([])).Message);
    }
}
