using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Values of NumPy 1.24.2, <c>numpy.random.default_rng(seed)</c>.</summary>
public sealed class NumpyGeneratorTests
{
    [Theory]
    [InlineData(0UL, 11749869230777074271UL, 4976686463289251617UL, 755828109848996024UL, 304881062738325533UL)]
    [InlineData(42UL, 14276969152011380360UL, 8095878257575067585UL, 15838336090824644132UL, 12864169557245331597UL)]
    [InlineData(1099511627781UL, 87427594128977387UL, 6872972437549564694UL, 10832470946844950135UL, 2792830572878198040UL)]
    public void Words_are_NumPys(ulong seed, params ulong[] expected)
    {
        NumpyGenerator generator = new(seed);
        Assert.Equal(expected, expected.Select(_ => generator.Next()));
    }

    // The SHA-256 of what PEFT's UniLoraModel.generate_index gives, as int32.
    [Theory]
    [InlineData(20, 6, 42UL, "201142b32a7057c8756c31659f6726e20e11b203ec116691e8f660c595dbfbc4")]
    [InlineData(1000, 256, 42UL, "9e6cbc8b5aae91cdfd2495e671f1769f5439c4650d7f6958630ee1dfd702f05d")]
    [InlineData(30000, 20001, 3UL, "6a4ff70d99da7098e8b775005523858db834e496a87a61ce92967ebba4e433f8")]
    [InlineData(20300, 20001, 3UL, "3b02d7d34d9ba573d962bf0b00e49b6716083cf2ba429e47d67dfb2b1eca0b74")]
    [InlineData(70000, 3, 1UL, "4b3796bbc7cce60862fec4bd04f9d6987940fe8e516817809338c63a51e3a03e")]
    [InlineData(100, 300, 1099511627781UL, "852f7dce8a5687c8e8364a338bcad1a6c6676afa7994282278a43fc3814e81b1")]
    [InlineData(147456, 1000, 7UL, "986d48c601108992d1e9a12b770b9f7fc15c6e851f30ff831391052f60b5a0b0")]
    public void Chosen_and_shuffled_numbers_are_NumPys(int entries, int length, ulong seed, string digest)
    {
        NumpyGenerator generator = new(seed);
        int each = entries / length, more = entries % length;
        int[] repeated = [.. Enumerable.Range(0, length).SelectMany(value => Enumerable.Repeat(value, each))];
        int[] values = [.. repeated, .. more > 0 ? generator.Choice(length, more) : []];
        generator.Shuffle(values);
        Assert.Equal(digest, Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes<int>(values))));
        // Each as often as any other, or once more.
        Assert.All(values.GroupBy(value => value), group => Assert.InRange(group.Count(), Math.Max(1, each), each + 1));
    }
}
