using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Attention in every layout on the CPU.</summary>
public sealed class AttentionTests() : AttentionContract(new CpuDevice(2), 5e-5, [1, 7, 32, 33, 48, 64, 80, 128]), IDisposable
{
    public void Dispose() => Device.Dispose();

    [Property(MaxTest = 40)]
    public void Any_number_of_threads_gives_the_same_bits(int seed)
    {
        Random r = new(seed);
        AttentionLayout layout = Draw(r);
        int[] starts = Starts(r);
        float[] qkv = OpCheck.Values(r, starts[^1] * layout.Width, 1), dy = OpCheck.Values(r, starts[^1] * layout.QueryWidth, 1);
        using CpuDevice one = new(1), three = new(3);
        Result alone = Run(one, layout, starts, qkv, dy);
        foreach (Device device in (Device[])[Device, three])
        {
            Result shared = Run(device, layout, starts, qkv, dy);
            Assert.Equal(alone.Y, shared.Y);
            Assert.Equal(alone.Lse, shared.Lse);
            Assert.Equal(alone.Grads, shared.Grads);
        }
    }

    [Property(MaxTest = 20)]
    public void A_window_that_no_sequence_outgrows_changes_no_bit(int seed)
    {
        Random r = new(seed);
        int[] starts = Starts(r);
        AttentionLayout drawn = Draw(r), layout = new(drawn.Heads, drawn.KeyValueHeads, drawn.HeadSize);
        AttentionLayout window = new(drawn.Heads, drawn.KeyValueHeads, drawn.HeadSize, window: starts[^1]);
        float[] qkv = OpCheck.Values(r, starts[^1] * layout.Width, 1), dy = OpCheck.Values(r, starts[^1] * layout.QueryWidth, 1);
        Result with = Run(Device, window, starts, qkv, dy), without = Run(Device, layout, starts, qkv, dy);
        Assert.Equal(without.Y, with.Y);
        Assert.Equal(without.Lse, with.Lse);
        Assert.Equal(without.Grads, with.Grads);
    }
}
