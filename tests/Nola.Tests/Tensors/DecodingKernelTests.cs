using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>The contracts of the kernels that only decoding needs.</summary>
public sealed class DecodingKernelTests : IDisposable
{
    private readonly CpuDevice device = new(2);

    public void Dispose() => device.Dispose();

    [Property(MaxTest = 30)]
    public void Cached_attention_is_attention_over_each_list_of_rows(int seed)
    {
        Random r = new(seed);
        int heads = 1 + r.Next(3), d = ((int[])[1, 3, 8, 16, 20, 64, 70])[r.Next(7)], c = heads * d, prompt = 1 + r.Next(30), sequences = 1 + r.Next(5);
        // A prompt that all share, in shuffled rows; then new tokens of their own.
        int[] fresh = [.. Enumerable.Range(0, sequences).Select(_ => 1 + r.Next(4))];
        int store = prompt + fresh.Sum() + 3;
        int[] places = [.. Enumerable.Range(0, store)];
        r.Shuffle(places);
        float[] keys = OpCheck.Values(r, store * c, 1), values = OpCheck.Values(r, store * c, 1), qkv = OpCheck.Values(r, fresh.Sum() * 3 * c, 1);
        int[] starts = Starts(fresh), rowStarts = Starts([.. fresh.Select(n => prompt + n)]);
        int[] rows = [.. fresh.SelectMany((n, s) => (int[])[.. places[..prompt], .. places.AsSpan(prompt + starts[s], n)])];
        float[] y = Run(device, qkv, starts, rows, rowStarts, keys, values, [heads, store, d]);

        for (int s = 0; s < sequences; s++)
        {
            // The same as one sequence of prompt and new tokens, whose queries for the prompt nobody reads.
            double[] whole = new double[(prompt + fresh[s]) * 3 * c];
            for (int i = 0; i < prompt; i++)
                for (int x = 0; x < c; x++)
                    (whole[(i * 3 * c) + c + x], whole[(i * 3 * c) + 2 * c + x]) = (keys[At(x, places[i])], values[At(x, places[i])]);
            for (int i = 0; i < fresh[s] * 3 * c; i++) whole[prompt * 3 * c + i] = qkv[starts[s] * 3 * c + i];
            double[] wanted = Reference.Attention(whole, [0, prompt + fresh[s]], heads, c);
            for (int i = 0; i < fresh[s] * c; i++) Assert.Equal(wanted[prompt * c + i], y[starts[s] * c + i], 5e-6);       // weighted means of values up to 1 in float32
        }

        using CpuDevice one = new(1);
        Assert.Equal(y, Run(one, qkv, starts, rows, rowStarts, keys, values, [heads, store, d]));

        int At(int x, int row) => (x / d * store + row) * d + x % d;
    }

    [Fact]
    public void Cached_attention_refuses_lists_that_do_not_fit()
    {
        float[] cache = new float[8], qkv = new float[6];
        Assert.Throws<ArgumentOutOfRangeException>(() => Run(device, qkv, [0, 1], [4], [0, 1], cache, cache, [1, 4, 2]));
        Assert.Contains("list of 0 rows", Assert.Throws<ArgumentException>(() => Run(device, qkv, [0, 1], [], [0, 0], cache, cache, [1, 4, 2])).Message);
        Assert.Contains("(S + 1) twice", Assert.Throws<ShapeException>(() => Run(device, qkv, [0, 1], [0], [0, 1, 1], cache, cache, [1, 4, 2])).Message);
    }

    [Property(MaxTest = 40)]
    public void The_largest_of_a_row_are_those_of_a_sort(int seed)
    {
        Random r = new(seed);
        int n = 1 + r.Next(4), v = 1 + r.Next(700), k = 1 + r.Next(Math.Min(v, 40));
        float[] x = OpCheck.Values(r, n * v, 1);
        // Equal ones, and what is banned.
        for (int i = 0; i < x.Length; i++) x[i] = r.Next(5) == 0 ? float.NegativeInfinity : MathF.Round(x[i], 1 + r.Next(3));
        using Tensor t = device.From(x, [n, v]), values = device.Empty([n, k]), indices = device.Empty([n, k], DType.Int32);
        device.TopK(t, values, indices);
        for (int i = 0; i < n; i++)
        {
            float[] row = x[(i * v)..((i + 1) * v)];
            int[] order = [.. Enumerable.Range(0, v).Where(j => row[j] > float.NegativeInfinity).OrderByDescending(j => row[j]).ThenBy(j => j).Take(k)];
            Assert.Equal([.. order, .. Enumerable.Repeat(-1, k - order.Length)], indices.ToInt32Array().AsSpan(i * k, k).ToArray());
            Assert.Equal([.. order.Select(j => row[j]), .. Enumerable.Repeat(float.NegativeInfinity, k - order.Length)], values.ToArray().AsSpan(i * k, k).ToArray());
        }
    }

    [Property(MaxTest = 40)]
    public void Log_sum_exp_is_the_one_in_double(int seed)
    {
        Random r = new(seed);
        int n = 1 + r.Next(4), v = 1 + r.Next(3000);
        float[] x = OpCheck.Values(r, n * v, 20);
        for (int i = 0; i < x.Length; i++)
            if (r.Next(9) == 0) x[i] = float.NegativeInfinity;
        Array.Fill(x, float.NegativeInfinity, 0, v);
        using Tensor t = device.From(x, [n, v]), y = device.Empty([n]);
        device.LogSumExp(t, y);
        float[] got = y.ToArray();
        Assert.Equal(float.NegativeInfinity, got[0]);
        for (int i = 1; i < n; i++)
        {
            double[] row = [.. x[(i * v)..((i + 1) * v)].Select(z => (double)z)];
            double wanted = Math.Log(row.Sum(Math.Exp));
            if (double.IsFinite(wanted)) Assert.Equal(wanted, got[i], 4e-6);       // two units in the last place of a number up to 28
        }
    }

    [Fact]
    public void Banned_tokens_are_ruled_out_and_repeated_ones_penalised()
    {
        using Tensor z = device.From([1, -2, 3, 4, 5, -6], [2, 3]), starts = device.From([0, 2, 3]), ids = device.From([0, 1, 2]), from = device.From([2, -1], [2]);
        device.Penalise(z, starts, ids, 2);
        Assert.Equal([0.5f, -4, 3, 4, 5, -12], z.ToArray());
        device.Upload([1f, -2, 3, 4, 5, -6], z);
        device.Penalise(z, starts, ids, 2, from);
        Assert.Equal([0, -6, 3, 4, 5, -11], z.ToArray());
        device.Ban(z, starts, ids);
        Assert.Equal([float.NegativeInfinity, float.NegativeInfinity, 3, 4, 5, float.NegativeInfinity], z.ToArray());
    }

    [Fact]
    public void Sizes_that_do_not_fit_are_named()
    {
        using Tensor z = device.Empty([2, 3]), two = device.Empty([2]), wide = device.Empty([2, 4]), ids = device.Empty([2, 4], DType.Int32), starts = device.From([0, 0]), far = device.From([0, 1, 1]), three = device.From([3]);
        Assert.Contains("LogSumExp", Assert.Throws<ShapeException>(() => device.LogSumExp(z, wide)).Message);
        Assert.Contains("k at most V", Assert.Throws<ShapeException>(() => device.TopK(z, wide, ids)).Message);
        Assert.Contains("Ban", Assert.Throws<ShapeException>(() => device.Ban(z, starts, three)).Message);
        Assert.Contains("Penalise", Assert.Throws<ShapeException>(() => device.Penalise(z, starts, three, 2)).Message);
        Assert.Contains("from (2, 4)", Assert.Throws<ShapeException>(() => device.Penalise(z, far, three, 2, wide)).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => device.Ban(z, far, three));
    }

    private static int[] Starts(int[] lengths) => [0, .. lengths.Select((_, i) => lengths.Take(i + 1).Sum())];

    private static float[] Run(CpuDevice on, float[] qkv, int[] starts, int[] rows, int[] rowStarts, float[] keys, float[] values, Shape cache)
    {
        int c = cache[0] * cache[2], n = qkv.Length / (3 * c);
        using Tensor q = on.From(qkv, [n, 3 * c]), st = on.From(starts), ro = on.From(rows), rs = on.From(rowStarts);
        using Tensor k = on.From(keys, cache), v = on.From(values, cache), y = on.Empty([n, c]);
        on.Fill(y, float.NaN);
        on.AttentionCached(q, st, ro, rs, k, v, y);
        return y.ToArray();
    }
}
