using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>The mixing product on the CPU.</summary>
public sealed class BasisMixTests() : BasisMixContract(new CpuDevice(2)), IDisposable
{
    public void Dispose() => Device.Dispose();

    [Property(MaxTest = 12)]
    public void One_thread_equals_three_bit_for_bit(int seed)
    {
        Random r = new(seed);
        Case x = Case.Draw(r);
        float[] c = OpCheck.Values(r, x.Layers * x.Basis.Count, 1), g = OpCheck.Values(r, x.Layers * x.Basis.Size, 1);
        using CpuDevice one = new(1), three = new(3);
        (float[] w, float[] dc) = x.Run(one, c, g);
        (float[] w3, float[] dc3) = x.Run(three, c, g);
        Assert.Equal(w, w3);
        Assert.Equal(dc, dc3);
    }
}
