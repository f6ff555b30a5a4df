using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// What follows a product, on tensor cores and off them: bias, residual, beta and GELU inside the product's kernel, at even
/// and odd widths, and after the sum of parts where the inner dimension is divided. Sums of whole numbers are exact.
/// </summary>
public sealed class EpilogueTests
{
    [Theory]
    [InlineData("float32", 40, 36)]
    [InlineData("float32", 300, 33)]
    [InlineData("bfloat16", 40, 36)]
    [InlineData("bfloat16", 40, 33)]
    [InlineData("bfloat16", 300, 34)]
    [InlineData("tf32", 40, 36)]
    [InlineData("tf32", 300, 33)]
    public void Bias_residual_beta_and_gelu_end_a_product(string products, int k, int n)
    {
        GpuDevice device = products switch { "float32" => TestGpu.Device, "tf32" => TestGpu.WithTf32(), _ => TestGpu.WithTensorCores() };
        try
        {
            Check(device, k, n);
        }
        finally
        {
            if (device != TestGpu.Device) device.Dispose();
        }
    }

    [Fact]
    public void The_gradient_of_gelu_is_multiplied_on_the_way_to_tensor_cores()
    {
        const int M = 20, In = 18, Out = 37;
        Random r = new(7);
        using GpuDevice device = TestGpu.WithTensorCores();
        using Tensor weight = device.From(OpCheck.Values(r, In * Out, 1), [In, Out]);
        using Tensor u = device.From(OpCheck.Values(r, M * Out, 2), [M, Out]);
        using Tensor dy = device.From(OpCheck.Values(r, M * Out, 1), [M, Out]), dx = device.Empty([M, In]);
        using Tensor du = device.Empty([M, Out]), apart = device.Empty([M, In]);
        using FrozenMatrix frozen = device.Freeze(weight);
        device.GeluGrad(u, dy, du);
        device.MatMulTransposed(du, frozen, apart);
        device.MatMulTransposed(dy, frozen, dx, 0, u);
        // The same formula in two kernels: where a compiler joins products and sums differently, a last bit may round to
        // another bfloat16, which is 2⁻⁸ of one term.
        OpCheck.Close(OpCheck.Wide(apart.ToArray()), dx.ToArray(), 4e-3);
    }

    private static void Check(Device device, int k, int n)
    {
        const int M = 21;
        Random r = new(n);
        float[] x = Small(M * k), w = Small(k * n), bias = Small(n), residual = Small(M * n), start = Small(M * n);
        using Tensor weight = device.From(w, [k, n]), input = device.From(x, [M, k]);
        using Tensor shift = device.From(bias, [n]), added = device.From(residual, [M, n]);
        using Tensor y = device.From(start, [M, n]), activated = device.Empty([M, n]);
        device.Fill(activated, float.NaN);
        using FrozenMatrix frozen = device.Freeze(weight);
        device.MatMul(input, frozen, shift, y, 1, added, activated);
        double[] expected = Reference.AddRow(Reference.MatMul(OpCheck.Wide(x), OpCheck.Wide(w), M, k, n), OpCheck.Wide(bias));
        expected = [.. expected.Select((v, i) => v + residual[i] + start[i])];
        Assert.Equal(expected, OpCheck.Wide(y.ToArray()));
        // The kernel's tanh errs by 1e-7.
        OpCheck.Close([.. expected.Select(Reference.Gelu)], activated.ToArray(), 1e-6);

        // Quarters of small whole numbers: exact, and results where GELU bends.
        float[] Small(int count) => [.. Enumerable.Range(0, count).Select(_ => (r.Next(5) - 2) / 4f)];
    }
}
