using System.Globalization;
using System.Security.Cryptography;
using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

public sealed unsafe class PhiloxTests
{
    // The known answers of Random123 1.14 (kat_vectors, philox4x32 10).
    [Theory]
    [InlineData(0u, 0u, 0u, 0u, 0u, 0u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    [InlineData(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u, 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)]
    public void Block_gives_the_published_words(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1, uint x0, uint x1, uint x2, uint x3) =>
        Assert.Equal((x0, x1, x2, x3), Philox.Block(c0, c1, c2, c3, k0, k1));

    [Property(MaxTest = 50)]
    public void Every_vector_width_gives_the_same_words(uint c0, bool overCounters, uint c1, uint c2, uint c3, ulong key)
    {
        (uint step0, uint step1) = overCounters ? (1u, 0u) : (0u, 1u);
        uint* scalar = stackalloc uint[64], wide = stackalloc uint[64];
        Philox.LanesScalar(c0, step0, c1, step1, c2, c3, key, scalar);
        if (System.Runtime.Intrinsics.X86.Avx2.IsSupported)
        {
            Philox.Lanes256(c0, step0, c1, step1, c2, c3, key, wide);
            Assert.True(new Span<uint>(scalar, 64).SequenceEqual(new Span<uint>(wide, 64)));
        }
        if (System.Runtime.Intrinsics.X86.Avx512F.IsSupported)
        {
            Philox.Lanes512(c0, step0, c1, step1, c2, c3, key, wide);
            Assert.True(new Span<uint>(scalar, 64).SequenceEqual(new Span<uint>(wide, 64)));
        }
    }

    [Fact]
    public void The_specification_s_vectors_are_ours()
    {
        string[] rows = [.. Specification().Where(line => line.StartsWith("| uniform |") || line.StartsWith("| normal |") || line.StartsWith("| sign |"))];
        Assert.Equal(21, rows.Length);
        foreach (string row in rows)
        {
            string[] cell = row.Split('|', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
            RandomBasis basis = new(ulong.Parse(cell[1]), uint.Parse(cell[2]), uint.Parse(cell[3]), 512, 8192, 1, Enum.Parse<BasisEntries>(cell[0], true));
            Assert.Equal(float.Parse(cell[6], CultureInfo.InvariantCulture), basis.Entry(uint.Parse(cell[4]), int.Parse(cell[5])));
        }
    }

    [Fact]
    public void The_specification_s_table_and_fingerprint_are_ours()
    {
        byte[] table = [.. Enumerable.Range(0, 65536).SelectMany(u => BitConverter.GetBytes((short)(4096 * NormalTable.Value((ushort)u))))];
        string text = string.Join('\n', Specification());
        Assert.Contains(Convert.ToHexStringLower(SHA256.HashData(table)), text);
        RandomBasis[] bases = [.. ((uint[])[0, 256, 2, 258]).Select(stream => new RandomBasis(42, stream, 0, 512, 128, 8, BasisEntries.Uniform))];
        Assert.Contains(BasisFingerprint.Of(bases), text);
    }

    [Fact]
    public void No_entry_of_the_normal_table_is_near_a_rounding_tie()
    {
        // AS 241 errs by about 1e-16 relative; a tie this far away is rounded alike by every implementation.
        double nearest = Enumerable.Range(32768, 32768).Min(u => Math.Abs(4096 * NormalTable.Quantile((u + 0.5) / 65536) % 1 - 0.5));
        Assert.InRange(nearest, 1e-5, 0.5);
    }

    [Property(MaxTest = 60)]
    public void Fill_and_panels_are_the_scalar_entries(int seed)
    {
        Random r = new(seed);
        RandomBasis basis = new((ulong)r.NextInt64(), (uint)r.Next(512), (uint)r.Next(3), 1 + r.Next(40), 1 + r.Next(60), 1 + r.Next(60), (BasisEntries)r.Next(3));
        float[] filled = new float[basis.Size];
        uint index = (uint)r.Next(basis.Count);
        basis.Fill(index, filled);
        for (int e = 0; e < basis.Size; e++) Assert.Equal(basis.Entry(index, e), filled[e]);

        int width = 8 << r.Next(3), e0 = basis.GroupSize * r.Next((basis.Size + basis.GroupSize - 1) / basis.GroupSize), count = Math.Min(512, basis.Size - e0);
        float[] panels = new float[40 * 4096];
        fixed (float* p = panels)
        {
            BasisPanels.Entries(basis, 0, basis.Count, e0, count, p, width);
            for (int i = 0; i < basis.Count; i++)
                for (int c = 0; c < count; c++)
                    Assert.Equal(basis.Entry((uint)i, e0 + c), panels[(c / width * basis.Count + i) * width + c % width]);
            BasisPanels.Bases(basis, 0, basis.Count, e0, count, p, width, count);
            for (int i = 0; i < basis.Count; i++)
                for (int e = 0; e < count; e++)
                    Assert.Equal(basis.Entry((uint)i, e0 + e), panels[(i / width * count + e) * width + i % width]);
        }
    }

    [Theory]
    [InlineData(BasisEntries.Uniform, 1 / 3.0)]
    [InlineData(BasisEntries.Normal, 1.0)]
    [InlineData(BasisEntries.Sign, 1.0)]
    public void Entries_have_the_moments_of_their_distribution(BasisEntries entries, double variance)
    {
        float[] values = new float[1 << 20];
        new RandomBasis(5, 255, 0, 1, 1 << 10, 1 << 10, entries).Fill(0, values);
        // Four standard errors of a mean of 2^20 values.
        Assert.InRange(values.Average(v => (double)v), -0.004, 0.004);
        Assert.InRange(values.Average(v => (double)v * v), variance * 0.99, variance * 1.01);
    }

    private static string[] Specification() => File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "docs", "basis.md"));
}
