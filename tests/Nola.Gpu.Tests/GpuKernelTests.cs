using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// What the shared contracts do not reach: edges of tiles, decoding,
/// the optimizer, and every entry of a basis, against the CPU.
/// </summary>
public sealed class GpuKernelTests : IDisposable
{
    private readonly GpuDevice gpu = TestGpu.Device;
    private readonly CpuDevice cpu = new(2);

    public void Dispose() => cpu.Dispose();

    [Theory]
    [InlineData(65, 33, 66)]            // a square tile and a bit
    [InlineData(257, 20, 5)]            // tall: an adapter's x · A
    [InlineData(5, 20, 258)]            // flat: an adapter's uᵀ · dy
    [InlineData(20, 700, 24)]           // parts of the inner dimension
    public void Products_at_the_edges_of_tiles(int m, int k, int n)
    {
        Random r = new(m);
        float[] a = OpCheck.Values(r, m * k, 1), b = OpCheck.Values(r, k * n, 1), bias = OpCheck.Values(r, n, 1);
        double[] expected = Reference.AddRow(Reference.MatMul(OpCheck.Wide(a), OpCheck.Wide(b), m, k, n), OpCheck.Wide(bias));
        using Tensor x = gpu.From(a, [m, k]), w = gpu.From(b, [k, n]), shift = gpu.From(bias, [n]), y = gpu.Empty([m, n]);
        gpu.Fill(y, float.NaN);
        gpu.MatMul(x, false, w, false, y, 1, 0, shift);
        OpCheck.Close(expected, y.ToArray(), 2e-6 * Math.Sqrt(k));          // sums of k products of magnitude up to 1
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_weight_in_bfloat16_is_unpacked_as_it_was_rounded(bool transposed)
    {
        const int Rows = 9, Columns = 37;               // a second block of rows, a second round of a warp
        float[] w = OpCheck.Values(new Random(3), Rows * Columns, 1);
        float[] rounded = [.. w.Select(v => DTypes.FromBFloat16(DTypes.ToBFloat16(v)))];
        using Tensor weight = gpu.From(w, [Rows, Columns]), straight = gpu.Empty([Rows, Columns]), turned = gpu.Empty([Columns, Rows]);
        using FrozenMatrix frozen = gpu.Freeze(weight, transposed, WeightFormat.BFloat16);
        gpu.Unpack(frozen, straight, transposed);
        gpu.Unpack(frozen, turned, !transposed);
        Assert.Equal(rounded, straight.ToArray());
        Assert.Equal(TensorCoreTests.Transposed(rounded, Rows, Columns), turned.ToArray());
    }

    [Theory]
    [InlineData(BasisEntries.Uniform)]
    [InlineData(BasisEntries.Normal)]
    [InlineData(BasisEntries.Sign)]
    public void Entries_have_the_bits_of_the_specification(BasisEntries entries)
    {
        // Beyond a group of signs, and not a multiple of four.
        RandomBasis basis = new(0x123456789ABCDEF0, 258, 3, 2, 47, 45, entries);
        using Tensor second = gpu.From([0, 1], [1, 2]), w = gpu.Empty([1, basis.Size]);
        gpu.BasisMix(basis, second, w);
        Assert.Equal([.. Enumerable.Range(0, basis.Size).Select(e => basis.Entry(1, e))], w.ToArray());
    }

    [Theory]
    [InlineData(2, 2, 8, true, 0)]
    [InlineData(3, 3, 5, true, 0)]
    [InlineData(4, 2, 8, false, 0)]
    [InlineData(3, 1, 5, true, 140)]
    public void Decoding_attends_as_on_the_CPU(int heads, int keyValueHeads, int size, bool causal, int window)
    {
        // More keys than the four warps take in one round, and a sequence without new tokens.
        AttentionLayout layout = new(heads, keyValueHeads, size, causal, window);
        DecodingKernelContract.Case x = DecodingKernelContract.Case.Of(new Random(heads), layout, 150, [2, 0, 3]);
        OpCheck.Close(OpCheck.Wide(x.Run(cpu)), x.Run(gpu), 2e-6);
    }

    [Fact]
    public void AdamW_steps_as_on_the_CPU()
    {
        Random r = new(1);
        float[] p = OpCheck.Values(r, 1003, 1), g = OpCheck.Values(r, 1003, 1);
        OpCheck.Close(OpCheck.Wide(Steps(cpu)), Steps(gpu), 1e-6);

        float[] Steps(Device device)
        {
            using Tensor x = device.From(p, [1003]), gradient = device.From(g, [1003]), m = device.Zeros([1003]), v = device.Zeros([1003]);
            for (int t = 1; t <= 3; t++) device.AdamW(x, gradient, m, v, new AdamWStep(0.01f, 0.9f, 0.999f, 1e-6f, 0.1f, t, 0.5f));
            return [.. x.ToArray(), .. m.ToArray(), .. v.ToArray()];
        }
    }

    [Fact]
    public void Squares_of_several_tensors_are_summed_at_once()
    {
        Random r = new(2);
        float[] a = OpCheck.Values(r, 20_001, 1), b = OpCheck.Values(r, 7, 1);
        using Tensor x = gpu.From(a, [20_001]), y = gpu.From(b, [7]), none = gpu.Empty([0]);
        Assert.Equal(OpCheck.Wide([.. a, .. b]).Sum(v => v * v), gpu.SumSquares(x, none, y), 1e-9);
        Assert.Equal(0, gpu.SumSquares());
    }

    [Fact]
    public void The_self_test_passes() => SelfTest.Run(gpu);

    [Fact]
    public void Errors_in_kernels_come_with_the_next_download_and_once()
    {
        using Tensor table = gpu.Zeros([4, 3]), bad = gpu.From([1, 4]), good = gpu.From([1, 3]), y = gpu.Zeros([2, 3]);
        gpu.GatherRows(table, bad, y);
        Assert.Contains("Row index 4 is outside the table of 4 rows", Assert.Throws<ArgumentOutOfRangeException>(y.ToArray).Message);
        gpu.GatherRows(table, good, y);
        Assert.Equal(new float[6], y.ToArray());

        using Tensor logits = gpu.Zeros([2, 3]), losses = gpu.Empty([2]);
        gpu.CrossEntropy(logits, bad, 0, losses);
        Assert.Contains("Row index 4 is outside the table of 3 rows", Assert.Throws<ArgumentOutOfRangeException>(losses.ToArray).Message);

        using Tensor keys = gpu.Zeros([1, 2, 4]), values = gpu.Zeros(keys.Shape);
        using Tensor starts = gpu.From([0, 2]), rows = gpu.From([1]), rowStarts = gpu.From([0, 1]);
        using Tensor qkv = gpu.Zeros([2, 12]), z = gpu.Empty([2, 4]);
        gpu.AttentionCached(qkv, starts, rows, rowStarts, AttentionLayout.Of(4, 1), keys, values, z);
        Assert.Contains("sequence 0 has 2 new tokens and a list of 1 rows of 1", Assert.Throws<ArgumentException>(z.ToArray).Message);

        using Tensor ids = gpu.From([0, 3]), each = gpu.From([0, 1, 2]), past = gpu.From([0, 1, 3]);
        gpu.Ban(logits, each, ids);
        Assert.Contains("Row index 3 is outside the table of 3 rows", Assert.Throws<ArgumentOutOfRangeException>(logits.ToArray).Message);
        gpu.Ban(logits, past, ids);
        Assert.Contains("Row index 3 is outside the table of 2 rows", Assert.Throws<ArgumentOutOfRangeException>(logits.ToArray).Message);
    }

    [Fact]
    public void A_head_that_is_too_large_says_what_to_use()
    {
        using Tensor qkv = gpu.Zeros([1, 3 * 129]), starts = gpu.From([0, 1]), y = gpu.Empty([1, 129]), lse = gpu.Empty([1, 1]);
        Assert.Contains(
            "at most 128", Assert.Throws<NolaException>(() => gpu.Attention(qkv, starts, AttentionLayout.Of(129, 1), y, lse)).Message);
    }
}
