using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

public sealed unsafe class PhiloxTests
{
    // The known answers of Random123 1.14 (kat_vectors, philox4x32 10).
    [Theory]
    [InlineData(0u, 0u, 0u, 0u, 0u, 0u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    [InlineData(
        0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u, 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)]
    public void Block_gives_the_published_words(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1, uint x0, uint x1, uint x2, uint x3) =>
        Assert.Equal((x0, x1, x2, x3), Philox.Block(c0, c1, c2, c3, k0, k1));

    [Property(MaxTest = 50)]
    public void Every_vector_width_gives_the_same_words(uint[] c0, uint[] c1, uint c2, uint c3, ulong key)
    {
        CheckWidth<Words128, Vector128<uint>>(c0, c1, c2, c3, key);
        if (Vector256.IsHardwareAccelerated) CheckWidth<Words256, Vector256<uint>>(c0, c1, c2, c3, key);
        if (Vector512.IsHardwareAccelerated) CheckWidth<Words512, Vector512<uint>>(c0, c1, c2, c3, key);
    }

    [Fact]
    public void The_specification_s_words_are_ours()
    {
        uint[][] rows = [.. Specification()
            .Where(line => Regex.IsMatch(line, "^(\\| [0-9a-f]{8} ){10}\\|$"))
            .Select(line => Cells(line).Select(word => Convert.ToUInt32(word, 16)).ToArray())];
        Assert.Equal(3, rows.Length);
        foreach (uint[] x in rows) Assert.Equal((x[6], x[7], x[8], x[9]), Philox.Block(x[0], x[1], x[2], x[3], x[4], x[5]));
    }

    [Fact]
    public void The_specification_s_vectors_are_ours()
    {
        string[] rows = [.. Specification()
            .Where(line => line.StartsWith("| uniform |") || line.StartsWith("| normal |") || line.StartsWith("| sign |"))];
        Assert.Equal(21, rows.Length);
        foreach (string row in rows)
        {
            string[] cell = Cells(row);
            RandomBasis basis = new(
                ulong.Parse(cell[1]), uint.Parse(cell[2]), uint.Parse(cell[3]), 512, 8192, 1, Enum.Parse<BasisEntries>(cell[0], true));
            Assert.Equal(float.Parse(cell[6], CultureInfo.InvariantCulture), basis.Entry(uint.Parse(cell[4]), int.Parse(cell[5])));
        }
    }

    [Fact]
    public void The_specification_s_table_and_fingerprint_are_ours()
    {
        byte[] table = [.. Enumerable.Range(0, 65536).SelectMany(u => BitConverter.GetBytes((short)(4096 * NormalTable.Value((ushort)u))))];
        string text = string.Join('\n', Specification());
        Assert.Contains(Convert.ToHexStringLower(SHA256.HashData(table)), text);
        RandomBasis[] bases =
            [.. ((uint[])[0, 256, 2, 258]).Select(stream => new RandomBasis(42, stream, 0, 512, 128, 8, BasisEntries.Uniform))];
        Assert.Contains(BasisFingerprint.Of(bases), text);
    }

    [Fact]
    public void The_specification_s_offsets_are_ours()
    {
        string[] rows = [.. Specification().Where(line => Regex.IsMatch(line, "^\\| [0-9]+ `"))];
        Assert.Equal(5, rows.Length);
        using CpuDevice device = new(1);
        using LanguageModel model = TinyModels.Create(device, layers: 24);
        foreach (string[] cell in rows.Select(Cells))
        {
            int stream = int.Parse(cell[0].Split(' ')[0]), layer = int.Parse(cell[1]), inputs = int.Parse(cell[2]);
            AdaptableMap map = model.AdaptableMaps.First(m => m.Stream == stream && m.Layer == layer);
            Assert.Contains($"`{map.Kind}`", cell[0]);
            float[] offset = InitialFactors.Uniform(42, [layer], stream, inputs, 8);
            Assert.Equal(float.Parse(cell[4], CultureInfo.InvariantCulture), offset[int.Parse(cell[3])]);
        }
    }

    [Fact]
    public void The_specification_s_offsets_of_the_token_embedding_are_ours()
    {
        string[] rows = [.. Specification().Where(line => line.StartsWith("| `wte` |", StringComparison.Ordinal))];
        Assert.Equal(2, rows.Length);
        using CpuDevice device = new(1);
        foreach (string[] cell in rows.Select(Cells))
        {
            using LanguageModel model = LanguageModel.Create(new Gpt2Config(1, 1, int.Parse(cell[1]), 5, 4), device, 1, trainable: false);
            MapGroup group = AdapterTargets.Resolve(["wte"], model.AdaptableMaps)[0];
            float[] offset = InitialFactors.UniformB(42, group, 8);
            Assert.Equal(float.Parse(cell[3], CultureInfo.InvariantCulture), offset[int.Parse(cell[2])]);
        }
    }

    [Property(MaxTest = 30)]
    public void The_first_matrices_of_a_larger_basis_are_the_same(ulong seed, byte count, byte more, BasisEntries entries)
    {
        RandomBasis small = new(seed, 1, 0, count + 1, 9, 31, entries), large = small with { Count = count + more + 2 };
        float[] a = new float[small.Size], b = new float[small.Size];
        small.Fill(count, a);
        large.Fill(count, b);
        Assert.Equal(a, b);
        large.Fill(count + 1u, b);
        Assert.NotEqual(a, b);
    }

    [Fact]
    public void The_fingerprint_sees_whatever_changes_the_matrices()
    {
        RandomBasis basis = new(42, 0, 0, 512, 128, 8, BasisEntries.Uniform);
        RandomBasis[] others =
        [
            basis, basis with { Seed = 43 }, basis with { Seed = 42 | 1UL << 32 }, basis with { Stream = 256 }, basis with { Layer = 1 },
            basis with { Count = 511 }, basis with { Entries = BasisEntries.Normal }, basis with { Entries = BasisEntries.Sign },
        ];
        Assert.Distinct(others.Select(other => BasisFingerprint.Of([other])));
    }

    [Fact]
    public void No_entry_of_the_normal_table_is_near_a_rounding_tie()
    {
        // AS 241 errs by about 1e-16 relative; a tie this far away is rounded alike by every implementation.
        double nearest = Enumerable.Range(32768, 32768).Min(u => Math.Abs(4096 * NormalTable.Quantile((u + 0.5) / 65536) % 1 - 0.5));
        Assert.InRange(nearest, 1e-5, 0.5);
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

    private static void CheckWidth<S, V>(
        uint[] first, uint[] second, uint c2, uint c3, ulong key) where S : struct, IWords<V> where V : struct
    {
        uint* c0 = stackalloc uint[S.Lanes], c1 = stackalloc uint[S.Lanes];
        for (int t = 0; t < S.Lanes; t++)
        {
            c0[t] = t < first.Length ? first[t] : uint.MaxValue - (uint)t;
            c1[t] = t < second.Length ? second[t] : (uint)t;
        }
        V x0 = Unsafe.ReadUnaligned<V>(c0), x1 = Unsafe.ReadUnaligned<V>(c1), x2 = S.Broadcast(c2), x3 = S.Broadcast(c3);
        uint* keys = stackalloc uint[Philox.Keys];
        Philox.Schedule(key, keys);
        Philox.Blocks<S, V>(ref x0, ref x1, ref x2, ref x3, keys);
        uint* words = stackalloc uint[4 * S.Lanes];
        S.Store(x0, words);
        S.Store(x1, words + S.Lanes);
        S.Store(x2, words + 2 * S.Lanes);
        S.Store(x3, words + 3 * S.Lanes);
        for (int t = 0; t < S.Lanes; t++)
            Assert.Equal(
                Philox.Block(c0[t], c1[t], c2, c3, (uint)key, (uint)(key >> 32)),
                (words[t], words[S.Lanes + t], words[2 * S.Lanes + t], words[3 * S.Lanes + t]));
    }

    private static string[] Cells(string row) => row.Split('|', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    private static string[] Specification() => File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "docs", "basis.md"));
}
