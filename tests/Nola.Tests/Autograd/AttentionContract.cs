using Nola.Autograd;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Attention in every layout: value, gradient, overwriting and adding (see <see cref="OpCheck"/>), over several sequences of
/// odd lengths, one of them empty, and one now and then longer than a block of queries. And what layouts have in common, to the bit.
/// </summary>
/// <param name="device">What is tested.</param>
/// <param name="tolerance">Of values; of gradients three times that.</param>
/// <param name="sizes">Columns of heads, of which each draw takes one.</param>
public abstract class AttentionContract(Device device, double tolerance, int[] sizes)
{
    protected Device Device => device;

    [Contract(20)]
    public void Attention_with_heads_of_64(int seed) => Check(new Random(seed), (heads, _, _) => new(heads, heads, 64));

    [Contract(10)]
    public void Attention_with_heads_of_128(int seed) => Check(new Random(seed), (heads, _, _) => new(heads, heads, 128));

    [Contract(30)]
    public void Queries_in_groups(int seed) => Check(new Random(seed), (heads, group, size) => new(heads * group, heads, size));

    [Contract(30)]
    public void Every_token_sees_every_other(int seed) =>
        Check(new Random(seed), (heads, group, size) => new(heads * group, heads, size, causal: false));

    [Contract(30)]
    public void Every_token_sees_a_window(int seed)
    {
        Random r = new(seed);
        Check(r, (heads, group, size) => new(heads * group, heads, size, window: 1 + r.Next(r.Next(2) == 0 ? 4 : 70)));
    }

    [Contract(20)]
    public void Shared_keys_and_values_are_repeated_ones(int seed)
    {
        Random r = new(seed);
        AttentionLayout shared = Draw(r), repeated = new(shared.Heads, shared.Heads, shared.HeadSize, shared.Causal, shared.Window);
        int[] starts = Starts(r);
        float[] qkv = OpCheck.Values(r, starts[^1] * shared.Width, 1), dy = OpCheck.Values(r, starts[^1] * shared.QueryWidth, 1);
        Result few = Run(device, shared, starts, qkv, dy);
        Result all = Run(device, repeated, starts, [.. Repeat(qkv, shared)], dy);
        Assert.Equal(all.Y, few.Y);
        Assert.Equal(all.Lse, few.Lse);
        int d = shared.HeadSize;
        double scale = 1 + all.Grads.Max(Math.Abs);
        for (int row = 0; row < starts[^1]; row++)
        {
            float[] mine = few.Grads[(row * shared.Width)..((row + 1) * shared.Width)], theirs = all.Grads[(row * repeated.Width)..((row + 1) * repeated.Width)];
            Assert.Equal(theirs[..repeated.KeyColumn], mine[..shared.KeyColumn]);
            for (int i = 0; i < 2 * shared.KeyWidth; i++)
            {
                float[] parts = [.. Enumerable.Range(0, shared.Group).Select(m => theirs[repeated.KeyColumn + (i / d * shared.Group + m) * d + i % d])];
                // Sums of the same terms in another order.
                Assert.Equal(parts.Sum(), mine[shared.KeyColumn + i], 2e-5 * scale);
            }
        }
    }

    [Contract(10)]
    public void A_window_that_no_sequence_outgrows_changes_no_bit(int seed)
    {
        Random r = new(seed);
        int[] starts = Starts(r);
        AttentionLayout drawn = Draw(r), layout = new(drawn.Heads, drawn.KeyValueHeads, drawn.HeadSize);
        AttentionLayout window = new(drawn.Heads, drawn.KeyValueHeads, drawn.HeadSize, window: starts[^1]);
        float[] qkv = OpCheck.Values(r, starts[^1] * layout.Width, 1), dy = OpCheck.Values(r, starts[^1] * layout.QueryWidth, 1);
        Result with = Run(device, window, starts, qkv, dy), without = Run(device, layout, starts, qkv, dy);
        Assert.Equal(without.Y, with.Y);
        Assert.Equal(without.Lse, with.Lse);
        Assert.Equal(without.Grads, with.Grads);
    }

    /// <summary>Any layout, of a few heads.</summary>
    protected AttentionLayout Draw(Random r)
    {
        int heads = 1 + r.Next(2), size = sizes[r.Next(sizes.Length)];
        bool causal = r.Next(3) > 0;
        return new(heads * (1 + r.Next(3)), heads, size, causal, causal && r.Next(2) == 0 ? 1 + r.Next(40) : 0);
    }

    private protected static int[] Starts(Random r)
    {
        int[] lengths = [1 + 2 * r.Next(4), 0, 17 + 2 * r.Next(8), r.Next(3) == 0 ? 65 + 2 * r.Next(8) : 1 + 2 * r.Next(8)];
        return [0, .. lengths.Select((_, s) => lengths.Take(s + 1).Sum())];
    }

    private protected static Result Run(Device on, AttentionLayout layout, int[] starts, float[] values, float[] grads)
    {
        int n = starts[^1];
        using Tensor qkv = on.From(values, [n, layout.Width]), dy = on.From(grads, [n, layout.QueryWidth]), sequences = on.From(starts);
        using Tensor y = on.Empty(dy.Shape), lse = on.Empty([layout.Heads, n]), dqkv = on.Empty(qkv.Shape);
        on.Fill(dqkv, float.NaN);
        on.Attention(qkv, sequences, layout, y, lse);
        on.AttentionGrad(qkv, sequences, layout, y, lse, dy, dqkv);
        return new(y.ToArray(), lse.ToArray(), dqkv.ToArray());
    }

    private void Check(Random r, Func<int, int, int, AttentionLayout> layoutOf)
    {
        AttentionLayout layout = layoutOf(1 + r.Next(2), 1 + r.Next(3), sizes[r.Next(sizes.Length)]);
        int[] starts = Starts(r);
        using Tensor onDevice = device.From(starts);
        OpCheck.Run(device, r, [("qkv", [starts[^1], layout.Width], 1)],
            (_, x) => Ops.Attention(x[0], onDevice, layout), x => Reference.Attention(x[0], starts, layout), tolerance);
    }

    // Each head of keys and of values as often as there are queries that read it.
    private static IEnumerable<float> Repeat(float[] qkv, AttentionLayout layout)
    {
        int d = layout.HeadSize;
        for (int row = 0; row < qkv.Length; row += layout.Width)
            for (int head = 0; head < layout.Heads + 2 * layout.KeyValueHeads; head++)
                for (int copy = 0; copy < (head < layout.Heads ? 1 : layout.Group); copy++)
                    for (int i = 0; i < d; i++) yield return qkv[row + head * d + i];
    }

    private protected sealed record Result(float[] Y, float[] Lse, float[] Grads);
}
