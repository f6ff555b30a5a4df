using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>The kernels of decoding on the CPU.</summary>
public sealed class DecodingKernelTests() : DecodingKernelContract(new CpuDevice(2)), IDisposable
{
    public void Dispose() => Device.Dispose();

    [Property(MaxTest = 30)]
    public void Cached_attention_on_one_thread_equals_two_bit_for_bit(int seed)
    {
        Case x = Case.Draw(new Random(seed));
        using CpuDevice one = new(1);
        Assert.Equal(x.Run(Device), x.Run(one));
    }
}
