using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Products of up to 16 rows, as decoding has them: right to the last bit on whole numbers, with all that ends a product, for
/// weights stored either way and in either type; and a row has the same bits whatever rows stand beside it.
/// </summary>
public sealed class RowsProductTests
{
    public static TheoryData<int, int, int, bool, WeightFormat> Cases()
    {
        TheoryData<int, int, int, bool, WeightFormat> cases = [];
        foreach (WeightFormat format in (WeightFormat[])[WeightFormat.Float32, WeightFormat.BFloat16])
        {
            foreach (bool transposed in (bool[])[false, true])
            {
                // Too shallow for these kernels; one row and four at a time; what is left of four; depths that end in each of the loops;
                // columns that end a block early.
                cases.Add(1, 136, 24, transposed, format);
                cases.Add(1, 264, 24, transposed, format);
                cases.Add(1, 1160, 40, transposed, format);
                cases.Add(3, 776, 16, transposed, format);
                cases.Add(6, 520, 24, transposed, format);
                cases.Add(16, 256, 8, transposed, format);
            }
        }
        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Few_rows_are_multiplied_exactly(int m, int k, int n, bool transposed, WeightFormat format)
    {
        Device device = TestGpu.Device;
        Random r = new(m + k + n);
        float[] x = Small(r, m * k), w = Small(r, k * n), bias = Small(r, n), residual = Small(r, m * n), start = Small(r, m * n);
        using Tensor weight = device.From(w, transposed ? [n, k] : [k, n]), input = device.From(x, [m, k]);
        using Tensor shift = device.From(bias, [n]), added = device.From(residual, [m, n]);
        using Tensor y = device.From(start, [m, n]), activated = device.Empty([m, n]);
        device.Fill(activated, float.NaN);
        using FrozenMatrix frozen = device.Freeze(weight, transposed, format);
        device.MatMul(input, frozen, shift, y, 1, added, activated);
        double[] wide = [.. Enumerable.Range(0, k * n).Select(i => (double)(transposed ? w[i % n * k + i / n] : w[i]))];
        double[] expected = Reference.AddRow(Reference.MatMul(OpCheck.Wide(x), wide, m, k, n), OpCheck.Wide(bias));
        expected = [.. expected.Select((v, i) => v + residual[i] + start[i])];
        Assert.Equal(expected, OpCheck.Wide(y.ToArray()));
        // The kernel's tanh errs by 1e-7 of values up to some hundreds.
        OpCheck.Close([.. expected.Select(Reference.Gelu)], activated.ToArray(), 1e-6);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_row_has_the_same_bits_alone(bool transposed)
    {
        const int M = 7, K = 1288, N = 24;
        Device device = TestGpu.Device;
        Random r = new(3);
        float[] x = OpCheck.Values(r, M * K, 1);
        using Tensor weight = device.From(OpCheck.Values(r, K * N, 1), transposed ? [N, K] : [K, N]);
        using Tensor all = device.From(x, [M, K]), together = device.Empty([M, N]);
        using FrozenMatrix frozen = device.Freeze(weight, transposed, WeightFormat.BFloat16);
        device.MatMul(all, frozen, null, together);
        for (int i = 0; i < M; i++)
        {
            using Tensor one = device.From(x[(i * K)..((i + 1) * K)], [1, K]), alone = device.Empty([1, N]);
            device.MatMul(one, frozen, null, alone);
            Assert.Equal(together.ToArray()[(i * N)..((i + 1) * N)], alone.ToArray());
        }
    }

    // Quarters of small whole numbers: sums are exact in float32, and the weights in bfloat16.
    private static float[] Small(Random r, int count) => [.. Enumerable.Range(0, count).Select(_ => (r.Next(5) - 2) / 4f)];
}
