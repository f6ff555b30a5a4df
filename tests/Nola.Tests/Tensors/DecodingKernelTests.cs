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

    // A maximum in one instruction may pass over what is not a number; what is made of it must not.
    [Property(MaxTest = 60)]
    public void What_is_not_a_number_is_in_no_sum_of_exponentials_loss_or_probability_unseen(int seed)
    {
        Random r = new(seed);
        int v = 1 + r.Next(80), at = r.Next(v);
        float[] x = OpCheck.Values(r, v, 20);
        if (r.Next(2) == 0) Array.Fill(x, float.NegativeInfinity);
        x[at] = float.NaN;
        using Tensor z = Device.From(x, [1, v]), y = Device.Empty([1]), targets = Device.From((int[])[r.Next(v)]);
        Device.LogSumExp(z, y);
        Assert.True(float.IsNaN(y.ToArray()[0]));
        Device.CrossEntropy(z, targets, 0, y);
        Assert.True(float.IsNaN(y.ToArray()[0]));
        // An activation's elements stand for themselves.
        using Tensor g = Device.Empty([1, v]);
        Device.Gelu(z, g);
        Assert.True(float.IsNaN(g.ToArray()[at]));
        Device.GeluErf(z, g);
        Assert.True(float.IsNaN(g.ToArray()[at]));
        Device.SiluMultiply(z, z, g);
        Assert.True(float.IsNaN(g.ToArray()[at]));
    }
}
