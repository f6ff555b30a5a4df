using Nola.Autograd;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Attention in every layout, over several sequences of odd lengths, one of them empty, and one now and then longer than a
/// block of queries: value, gradient, overwriting and adding (see <see cref="OpCheck"/>), and what layouts have in common, to the bit.
/// </summary>
/// <param name="device">What is tested.</param>
/// <param name="tolerance">Of values; of gradients three times that.</param>
/// <param name="sizes">Columns of heads, of which each draw takes one.</param>
public abstract class AttentionContract(Device device, double tolerance, int[] sizes)
{
    protected Device Device => device;

    [Contract(20)]
    public void Attention_with_heads_of_64(int seed) => Check(new Random(seed), 64);

    [Contract(10)]
    public void Attention_with_heads_of_128(int seed) => Check(new Random(seed), 128);

    [Contract(60)]
    public void Attention_in_any_layout(int seed)
    {
        Random r = new(seed);
        AttentionLayout layout = Draw(r);
        Check(r, layout, Starts(r));
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
            float[] mine = few.Grads[(row * shared.Width)..((row + 1) * shared.Width)];
            float[] theirs = all.Grads[(row * repeated.Width)..((row + 1) * repeated.Width)];
            Assert.Equal(theirs[..repeated.KeyColumn], mine[..shared.KeyColumn]);
            for (int i = 0; i < 2 * shared.KeyWidth; i++)
            {
                float[] parts =
                    [.. Enumerable.Range(0, shared.Group).Select(m => theirs[repeated.KeyColumn + (i / d * shared.Group + m) * d + i % d])];
                // Sums of the same terms in another order.
                Assert.Equal(parts.Sum(), mine[shared.KeyColumn + i], 2e-5 * scale);
            }
        }
    }

    /// <summary>Any layout, of up to four heads.</summary>
    protected AttentionLayout Draw(Random r)
    {
        (int heads, int keyValueHeads) = r.Next(5) switch { 0 => (1, 1), 1 => (2, 1), 2 => (3, 1), 3 => (4, 2), _ => (2, 2) };
        int window = r.Next(2) == 0 ? 0 : 1 + r.Next(r.Next(2) == 0 ? 4 : 70);
        return new(heads, keyValueHeads, sizes[r.Next(sizes.Length)], window > 0 || r.Next(2) == 0, window);
    }

    /// <summary>Sequences, of which one has no tokens, and one now and then more than a block of queries.</summary>
    private protected static int[] Starts(Random r) =>
        DecodingKernelContract.StartsOf([1 + r.Next(6), 0, 1 + r.Next(r.Next(5) == 0 ? 100 : 30)]);

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

    private void Check(Random r, int size)
    {
        int heads = 1 + r.Next(2);
        int[] lengths = [1 + 2 * r.Next(4), 0, 17 + 2 * r.Next(8), r.Next(3) == 0 ? 65 + 2 * r.Next(8) : 1 + 2 * r.Next(8)];
        Check(r, new(heads, heads, size), DecodingKernelContract.StartsOf(lengths));
    }

    private void Check(Random r, AttentionLayout layout, int[] starts)
    {
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
