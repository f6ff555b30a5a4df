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
    public void What_is_not_a_number_shows_in_sums_of_exponentials_losses_and_activations(int seed)
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
        using Tensor ones = Device.From(Enumerable.Repeat(1f, v).ToArray(), [1, v]);
        Device.GeluGrad(z, ones, g);
        Assert.True(float.IsNaN(g.ToArray()[at]));
        Device.GeluErfGrad(z, ones, g);
        Assert.True(float.IsNaN(g.ToArray()[at]));
    }

    [Property(MaxTest = 40)]
    public void A_query_that_meets_what_is_not_a_number_says_so_with_its_gradient(int seed)
    {
        Random r = new(seed);
        int t = 1 + r.Next(60), d = 4 + r.Next(20), at = r.Next(t), part = r.Next(3);
        float[] x = OpCheck.Values(r, t * 3 * d, 1);
        x[at * 3 * d + part * d + r.Next(d)] = float.NaN;
        using Tensor qkv = Device.From(x, [t, 3 * d]), starts = Device.From((int[])[0, t]);
        using Tensor y = Device.Empty([t, d]), lse = Device.Empty([1, t]), dy = Device.From(OpCheck.Values(r, t * d, 1), [t, d]);
        using Tensor dqkv = Device.Empty([t, 3 * d]);
        AttentionLayout layout = AttentionLayout.Of(d, 1);
        Device.Attention(qkv, starts, layout, y, lse);
        Device.AttentionGrad(qkv, starts, layout, y, lse, dy, dqkv);
        float[] rows = y.ToArray(), gradients = dqkv.ToArray();
        for (int i = 0; i < t; i++)
        {
            // A query is met by itself alone, a key and a value by the queries from it on.
            if (part == 0 ? i != at : i < at) continue;
            Assert.True(rows.AsSpan(i * d, d).ContainsAnyExceptInRange(float.MinValue, float.MaxValue));
            Assert.True(gradients.AsSpan(i * 3 * d, d).ContainsAnyExceptInRange(float.MinValue, float.MaxValue));
        }
    }
}
