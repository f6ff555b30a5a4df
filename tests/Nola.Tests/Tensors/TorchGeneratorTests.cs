using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Words and projections that PyTorch 2.6 and PEFT 0.17.1 drew from a key.</summary>
public sealed class TorchGeneratorTests
{
    [Theory]
    [InlineData(0, new uint[] { 2357136044, 2546248239, 3071714933, 3626093760 })]
    [InlineData(7, new uint[] { 327741615, 976413892, 3349725721, 1369975286 })]
    [InlineData(777, new uint[] { 655685735, 2776480559, 1298611771, 862112678 })]
    public void Words_are_those_of_PyTorch(ulong key, uint[] expected)
    {
        TorchGenerator generator = new(key);
        Assert.Equal(expected, expected.Select(_ => generator.Next()));
    }

    // The ten-thousandth word of the reference implementation for the seed 5489 (C++'s std::mt19937 names it as its check).
    [Fact]
    public void The_ten_thousandth_word_is_that_of_the_reference()
    {
        TorchGenerator generator = new(5489);
        for (int i = 1; i < 10_000; i++) generator.Next();
        Assert.Equal(4123659995u, generator.Next());
    }

    // VeRA's A (8, 48) then B (144, 8), each within ±√3 · √2 / √columns.
    [Theory]
    [InlineData(
        0,
        new[] { -0.00264698267f, 0.189661473f, -0.290990382f, -0.260193735f, -0.136172622f, 0.0948079526f, -0.00700500607f, 0.28032878f },
        new[] { 0.286497414f, 0.865745127f, 0.449175298f, 0.538363278f, -0.303102076f, 0.415542781f, 0.099511981f, -0.206821859f })]
    [InlineData(
        7,
        new[] { 0.0246939659f, -0.212978303f, 0.112579674f, 0.110938162f, -0.18896611f, -0.0529896021f, -0.207121447f, 0.0917374492f },
        new[] { 0.110505342f, 0.364642918f, -0.0413569212f, 0.491201222f, 0.410840571f, 0.493289769f, -0.0648413897f, -0.712745249f })]
    public void Projections_are_those_of_PEFT(ulong key, float[] firstOfA, float[] firstOfB)
    {
        TorchGenerator generator = new(key);
        float[] a = new float[8 * 48], b = new float[144 * 8];
        generator.Uniform(a, (float)(Math.Sqrt(3) * (Math.Sqrt(2) / Math.Sqrt(48))));
        generator.Uniform(b, (float)(Math.Sqrt(3) * (Math.Sqrt(2) / Math.Sqrt(8))));
        Assert.Equal(firstOfA, a[..8]);
        Assert.Equal(firstOfB, b[..8]);
    }

    [Theory]
    [InlineData(144, 48, new[] { 135, 23, 2, 36, 34, 21, 15, 32, 58, 35, 122, 46, 76, 15, 24, 37 })]
    [InlineData(96, 72, new[] { 90, 23, 1, 60, 22, 69, 10, 32, 39, 11, 81, 70, 50, 63, 16, 37 })]
    [InlineData(32, 72, new[] { 26, 23, 30, 24, 8, 51, 22, 29, 12, 15, 15, 45, 1, 21, 29, 51 })]
    public void A_permutation_is_PyTorchs(int rows, int columns, int[] first)
    {
        long[] places = new TorchGenerator(777).Permutation(rows * columns, 8);
        Assert.Equal(first, places.SelectMany(place => (int[])[(int)(place / columns), (int)(place % columns)]));
    }

    [Fact]
    public void A_whole_permutation_has_every_number_once_and_begins_like_a_part_of_it()
    {
        long[] all = new TorchGenerator(5).Permutation(700, 700);
        Assert.Equal(Enumerable.Range(0, 700).Select(i => (long)i), all.Order());
        Assert.Equal(all[..9], new TorchGenerator(5).Permutation(700, 9));
        Assert.Equal([0], new TorchGenerator(5).Permutation(1, 1));
    }
}
