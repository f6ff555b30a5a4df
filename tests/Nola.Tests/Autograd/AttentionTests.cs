using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Attention in every layout on the CPU.</summary>
public sealed class AttentionTests() : AttentionContract(new CpuDevice(2), 5e-5, [1, 7, 32, 33, 48, 64, 80, 128]), IDisposable
{
    public void Dispose() => Device.Dispose();

    [Property(MaxTest = 30)]
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
}
