using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>What every device must do with the kernels that only decoding needs.</summary>
public abstract class DecodingKernelContract(Device device)
{
    protected Device Device => device;

    [Contract(60)]
    public void Cached_attention_is_attention_over_each_list_of_rows(int seed)
    {
        Case x = Case.Draw(new Random(seed));
        float[] y = x.Run(device);
        for (int s = 0; s < x.Fresh.Length; s++)
        {
            // The same as one sequence of prompt and new tokens, whose queries for the prompt nobody reads.
            int c = x.Layout.QueryWidth, width = x.Layout.Width, prompt = x.Prompt.Length;
            double[] whole = new double[(prompt + x.Fresh[s]) * width];
            for (int i = 0; i < prompt; i++)
                for (int j = 0; j < x.Layout.KeyWidth; j++)
                {
                    whole[i * width + x.Layout.KeyColumn + j] = x.Keys[x.At(j, x.Prompt[i])];
                    whole[i * width + x.Layout.ValueColumn + j] = x.Values[x.At(j, x.Prompt[i])];
                }
            for (int i = 0; i < x.Fresh[s] * width; i++) whole[prompt * width + i] = x.Qkv[x.Starts[s] * width + i];
            double[] wanted = Reference.Attention(whole, [0, prompt + x.Fresh[s]], x.Layout);
            // weighted means of values up to 1 in float32
            for (int i = 0; i < x.Fresh[s] * c; i++) Assert.Equal(wanted[prompt * c + i], y[x.Starts[s] * c + i], 5e-6);
        }
    }

    [Contract(20)]
    public void Cached_attention_is_the_same_with_padding_after_sequences_and_lists(int seed)
    {
        Random r = new(seed);
        Case x = Case.Draw(r);
        int padding = 1 + r.Next(4), n = x.Starts[^1];
        // Further tokens of no sequence, further sequences of no token, and a longer list.
        float[] y = Run(
            device, x.Layout, [.. x.Qkv, .. Enumerable.Repeat(float.NaN, padding * x.Layout.Width)],
            [.. x.Starts, .. Enumerable.Repeat(n, padding)],
            [.. x.Rows, .. new int[100]], [.. x.RowStarts, .. Enumerable.Repeat(x.Rows.Length, padding)], x.Keys, x.Values, x.Cache);
        Assert.Equal(x.Run(device), y[..(n * x.Layout.QueryWidth)]);
    }

    [Fact]
    public void Cached_attention_refuses_lists_that_do_not_fit()
    {
        float[] cache = new float[8], qkv = new float[6];
        AttentionLayout layout = new(1, 1, 2);
        Assert.Throws<ArgumentOutOfRangeException>(() => Run(device, layout, qkv, [0, 1], [4], [0, 1], cache, cache, [1, 4, 2]));
        Assert.Contains(
            "list of 0 rows",
            Assert.Throws<ArgumentException>(() => Run(device, layout, qkv, [0, 1], [], [0, 0], cache, cache, [1, 4, 2])).Message);
        Assert.Contains(
            "(S + 1) twice",
            Assert.Throws<ShapeException>(() => Run(device, layout, qkv, [0, 1], [0], [0, 1, 1], cache, cache, [1, 4, 2])).Message);
    }

    [Contract(40)]
    public void The_largest_of_a_row_are_those_of_a_sort(int seed)
    {
        Random r = new(seed);
        int n = 1 + r.Next(4), v = 1 + r.Next(ContractRuns.Sizes(700)), k = 1 + r.Next(Math.Min(v, 40));
        float[] x = OpCheck.Values(r, n * v, 1);
        // Equal ones, and what is banned.
        for (int i = 0; i < x.Length; i++) x[i] = r.Next(5) == 0 ? float.NegativeInfinity : MathF.Round(x[i], 1 + r.Next(3));
        using Tensor t = device.From(x, [n, v]), values = device.Empty([n, k]), indices = device.Empty([n, k], DType.Int32);
        device.TopK(t, values, indices);
        for (int i = 0; i < n; i++)
        {
            float[] row = x[(i * v)..((i + 1) * v)];
            int[] order =
            [
                .. Enumerable.Range(0, v).Where(j => row[j] > float.NegativeInfinity).OrderByDescending(j => row[j]).ThenBy(j => j).Take(k),
            ];
            Assert.Equal([.. order, .. Enumerable.Repeat(-1, k - order.Length)], indices.ToInt32Array().AsSpan(i * k, k).ToArray());
            Assert.Equal(
                [.. order.Select(j => row[j]), .. Enumerable.Repeat(float.NegativeInfinity, k - order.Length)],
                values.ToArray().AsSpan(i * k, k).ToArray());
        }
    }

    [Contract(40)]
    public void Log_sum_exp_is_the_one_in_double(int seed)
    {
        Random r = new(seed);
        int n = 1 + r.Next(4), v = 1 + r.Next(ContractRuns.Sizes(3000));
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
    public void Banned_tokens_are_ruled_out_and_repeated_ones_penalized()
    {
        using Tensor z = device.From([1, -2, 3, 4, 5, -6], [2, 3]), starts = device.From([0, 2, 3]);
        using Tensor ids = device.From([0, 1, 2]), from = device.From([2, -1], [2]);
        device.Penalize(z, starts, ids, 2);
        Assert.Equal([0.5f, -4, 3, 4, 5, -12], z.ToArray());
        device.Upload([1f, -2, 3, 4, 5, -6], z);
        device.Penalize(z, starts, ids, 2, from);
        Assert.Equal([0, -6, 3, 4, 5, -11], z.ToArray());
        device.Ban(z, starts, ids);
        Assert.Equal([float.NegativeInfinity, float.NegativeInfinity, 3, 4, 5, float.NegativeInfinity], z.ToArray());
    }

    [Fact]
    public void Sizes_that_do_not_fit_are_named()
    {
        using Tensor z = device.Empty([2, 3]), two = device.Empty([2]), wide = device.Empty([2, 4]);
        using Tensor ids = device.Empty([2, 4], DType.Int32), starts = device.From([0, 0]);
        using Tensor far = device.From([0, 1, 1]), three = device.From([3]);
        Assert.Contains("LogSumExp", Assert.Throws<ShapeException>(() => device.LogSumExp(z, wide)).Message);
        Assert.Contains("k at most V", Assert.Throws<ShapeException>(() => device.TopK(z, wide, ids)).Message);
        Assert.Contains("Ban", Assert.Throws<ShapeException>(() => device.Ban(z, starts, three)).Message);
        Assert.Contains("Penalize", Assert.Throws<ShapeException>(() => device.Penalize(z, starts, three, 2)).Message);
        Assert.Contains("from (2, 4)", Assert.Throws<ShapeException>(() => device.Penalize(z, far, three, 2, wide)).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() =>
        {
            device.Ban(z, far, three);
            z.ToArray();
        });
    }

    internal static int[] StartsOf(int[] lengths) => [0, .. lengths.Select((_, i) => lengths.Take(i + 1).Sum())];

    private static float[] Run(
        Device on, AttentionLayout layout, float[] qkv, int[] starts,
        int[] rows, int[] rowStarts, float[] keys, float[] values, Shape cache)
    {
        int c = layout.QueryWidth, n = qkv.Length / layout.Width;
        using Tensor q = on.From(qkv, [n, layout.Width]), st = on.From(starts), ro = on.From(rows), rs = on.From(rowStarts);
        using Tensor k = on.From(keys, cache), v = on.From(values, cache), y = on.Empty([n, c]);
        on.Fill(y, float.NaN);
        on.AttentionCached(q, st, ro, rs, layout, k, v, y);
        return y.ToArray();
    }

    /// <summary>Sequences that share a prompt, in shuffled rows of a cache, and have new tokens of their own.</summary>
    internal sealed record Case(
        AttentionLayout Layout, int[] Fresh, int[] Prompt, int[] Starts, int[] Rows, int[] RowStarts,
        float[] Qkv, float[] Keys, float[] Values, Shape Cache)
    {
        public static Case Draw(Random r)
        {
            int heads = 1 + r.Next(3), d = ((int[])[1, 3, 8, 16, 20, 64, 70])[r.Next(7)], prompt = 1 + r.Next(30);
            bool causal = r.Next(4) > 0;
            AttentionLayout layout = new(heads * (1 + r.Next(3)), heads, d, causal, causal && r.Next(3) == 0 ? 1 + r.Next(20) : 0);
            return Of(r, layout, prompt, [.. Enumerable.Range(0, 1 + r.Next(5)).Select(_ => 1 + r.Next(4))]);
        }

        public static Case Of(Random r, AttentionLayout layout, int prompt, int[] fresh)
        {
            int c = layout.KeyWidth, store = prompt + fresh.Sum() + 3;
            int[] places = [.. Enumerable.Range(0, store)], starts = StartsOf(fresh);
            r.Shuffle(places);
            float[] keys = OpCheck.Values(r, store * c, 1), values = OpCheck.Values(r, store * c, 1);
            float[] qkv = OpCheck.Values(r, fresh.Sum() * layout.Width, 1);
            int[] rows = [.. fresh.SelectMany((n, s) => (int[])[.. places[..prompt], .. places.AsSpan(prompt + starts[s], n)])];
            return new(
                layout, fresh, places[..prompt], starts, rows, StartsOf([.. fresh.Select(n => prompt + n)]),
                qkv, keys, values, [layout.KeyValueHeads, store, layout.HeadSize]);
        }

        /// <summary>Where column x of a row's keys or values is.</summary>
        public int At(int x, int row) => (x / Cache[2] * Cache[1] + row) * Cache[2] + x % Cache[2];

        public float[] Run(Device on) => DecodingKernelContract.Run(on, Layout, Qkv, Starts, Rows, RowStarts, Keys, Values, Cache);
    }
}
