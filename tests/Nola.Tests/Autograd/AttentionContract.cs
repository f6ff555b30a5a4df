using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Tests;

/// <summary>
/// Attention with the heads that tensor cores have kernels for, of 64 and 128, over several sequences of odd lengths, one
/// of them now and then longer than a block of queries: value, gradient, overwriting and adding (see <see cref="OpCheck"/>).
/// </summary>
public abstract class AttentionContract(Device device, double tolerance)
{
    protected Device Device => device;

    [Contract(20)]
    public void Attention_with_heads_of_64(int seed) => Check(new Random(seed), 64);

    [Contract(10)]
    public void Attention_with_heads_of_128(int seed) => Check(new Random(seed), 128);

    private void Check(Random r, int size)
    {
        int heads = 1 + r.Next(2);
        int[] lengths = [1 + 2 * r.Next(4), 0, 17 + 2 * r.Next(8), r.Next(3) == 0 ? 65 + 2 * r.Next(8) : 1 + 2 * r.Next(8)];
        int[] starts = [0, .. lengths.Select((_, s) => lengths.Take(s + 1).Sum())];
        using Tensor onDevice = device.From(starts);
        OpCheck.Run(device, r, [("qkv", [starts[^1], 3 * heads * size], 1)],
            (_, x) => Ops.Attention(x[0], onDevice, heads), x => Reference.Attention(x[0], starts, heads, heads * size), tolerance);
    }
}
