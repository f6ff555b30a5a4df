using System.Runtime.InteropServices;
using FsCheck;
using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Products of bfloat16 by the chip's own instruction; where there is none, the tests say that they were not run.</summary>
public sealed unsafe class PairProductTests : IDisposable
{
    private readonly CpuDevice device = new(2, bfloat16: true), one = new(1, bfloat16: true);

    public void Dispose()
    {
        device.Dispose();
        one.Dispose();
    }

    [Fact]
    public void A_device_says_whether_its_products_round()
    {
        Assert.Equal(PairKernels.AreThere, device.RoundsProducts);
        Assert.Equal(PairKernels.AreThere ? "cpu,bfloat16" : "cpu", device.Name);
        Assert.False(new CpuDevice(1).RoundsProducts);
        using Device opened = Device.Open("cpu,bfloat16", 1, say => Assert.Contains("products are float32", say));
        Assert.Equal(device.Name, opened.Name);
    }

    [PairFact]
    public void Each_kernel_sums_pair_after_pair_the_upper_first_to_the_bit()
    {
        const int Pairs = 6;
        Random random = new(1);
        float* sums = (float*)NativeMemory.AlignedAlloc(PairKernels.MostRows * 128, 64);
        for (int rows = 1; rows <= PairKernels.MostRows; rows++)
        {
            int stride = PairKernels.Stride(rows);
            uint[] a = Words(Pairs * stride), b = Words(Pairs * 32);
            fixed (uint* left = a, right = b) PairKernels.Run(rows, Pairs, left, right, sums);
            for (int r = 0; r < rows; r++)
                for (int j = 0; j < 32; j++)
                {
                    float sum = 0;
                    for (int p = 0; p < Pairs; p++)
                    {
                        uint x = a[p * stride + r], y = b[p * 32 + j];
                        sum = MathF.FusedMultiplyAdd(Upper(x), Upper(y), sum);
                        sum = MathF.FusedMultiplyAdd(Upper(x << 16), Upper(y << 16), sum);
                    }
                    Assert.Equal(sum, sums[r * 32 + j]);
                }
        }
        NativeMemory.AlignedFree(sums);

        uint[] Words(int count) => [.. Enumerable.Range(0, count).Select(_ => Half() | Half() << 16)];

        uint Half() => DTypes.ToBFloat16((float)(random.NextDouble() - 0.5));

        static float Upper(uint word) => BitConverter.UInt32BitsToSingle(word & 0xFFFF0000);
    }

    // Rounded operands are exact in float32, their products in float64; what remains is the order of float32 sums, of which there are
    // k: each is off by at most half a unit in the last place of a partial sum, at most the sum of the products' sizes.
    [PairProperty]
    public void A_product_is_that_of_the_rounded_operands(byte m, byte n, ushort k, bool transposeA, bool transposeB, bool adds, int seed)
    {
        int rows = 32 + m % 60, columns = 32 + n % 90, steps = 32 + k % 2500;
        Random random = new(seed);
        float[] a = OpCheck.Values(random, rows * steps, 1), b = OpCheck.Values(random, steps * columns, 1);
        float[] c = OpCheck.Values(random, rows * columns, 1), bias = OpCheck.Values(random, columns, 1);
        float[] got = Product(device), alone = Product(one);
        Assert.Equal(alone, got);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
            {
                double sum = 0, size = 0;
                for (int p = 0; p < steps; p++)
                {
                    double term = (double)Rounded(a[transposeA ? p * rows + i : i * steps + p])
                        * Rounded(b[transposeB ? j * steps + p : p * columns + j]);
                    (sum, size) = (sum + term, size + Math.Abs(term));
                }
                double expected = 0.5 * sum + bias[j] + (adds ? c[i * columns + j] : 0);
                Assert.InRange(Math.Abs(got[i * columns + j] - expected), 0, (size + 2) * steps * Math.Pow(2, -24));
            }

        float[] Product(CpuDevice on)
        {
            Shape left = transposeA ? [steps, rows] : [rows, steps], right = transposeB ? [columns, steps] : [steps, columns];
            using Tensor x = on.From(a, left), w = on.From(b, right);
            using Tensor y = on.From(c, [rows, columns]), added = on.From(bias, [columns]);
            on.MatMul(x, transposeA, w, transposeB, y, 0.5f, adds ? 1 : 0, added);
            return y.ToArray();
        }
    }

    [PairProperty]
    public void A_frozen_weight_gives_what_its_rounded_values_give(byte m, byte n, ushort k, byte kind, int seed)
    {
        WeightFormat format = Enum.GetValues<WeightFormat>()[kind % Enum.GetValues<WeightFormat>().Length];
        bool codes = format is not (WeightFormat.Float32 or WeightFormat.BFloat16);
        // One row of codes is not rounded.
        int rows = (codes ? 2 : 1) + m % 50, columns = 1 + n % 100, steps = 1 + k % 1500;
        Random random = new(seed);
        float[] x = OpCheck.Values(random, rows * steps, 1), w = OpCheck.Values(random, steps * columns, 1);
        float[] dy = OpCheck.Values(random, rows * columns, 1);
        float[] across = [.. Enumerable.Range(0, steps * columns).Select(i => w[i % steps * columns + i / steps])];
        // What the weight is in its format, (in, out).
        float[] values = new float[steps * columns];
        (float[] y, float[] dx) = Products(device);
        (float[] ya, float[] dxa) = Products(one);
        Assert.Equal(ya, y);
        Assert.Equal(dxa, dx);
        // Codes of 8 bits are whole in bfloat16; what a column has in common is rounded, and its values and sums with it: four times.
        bool whole = format == WeightFormat.Int8;
        Check(
            y, rows, columns, steps, (i, p) => x[i * steps + p],
            (p, j) => whole ? values[p * columns + j] : Rounded(values[p * columns + j]), whole ? 4 : 0);
        Check(dx, rows, steps, columns, (i, p) => dy[i * columns + p], (p, j) => Rounded(values[j * columns + p]), 0);

        (float[] Y, float[] Dx) Products(CpuDevice on)
        {
            using Tensor weight = on.From(w, [steps, columns]), left = on.From(x, [rows, steps]), back = on.From(dy, [rows, columns]);
            using FrozenMatrix frozen = codes
                ? on.Freeze([QuantizedMatrix.Of(format, across, columns, steps)])
                : on.Freeze(weight, false, format);
            on.Unpack(frozen, weight);
            weight.CopyTo(values);
            using Tensor to = on.Empty([rows, columns]), grad = on.Empty([rows, steps]);
            on.MatMul(left, frozen, null, to, 0);
            on.MatMulTransposed(back, frozen, grad, 0);
            return (to.ToArray(), grad.ToArray());
        }

        static void Check(float[] got, int rows, int columns, int steps, Func<int, int, float> a, Func<int, int, float> b, int more)
        {
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < columns; j++)
                {
                    double sum = 0, size = 0;
                    for (int p = 0; p < steps; p++)
                    {
                        double term = (double)Rounded(a(i, p)) * b(p, j);
                        (sum, size) = (sum + term, size + Math.Abs(term));
                    }
                    Assert.InRange(Math.Abs(got[i * columns + j] - sum), 0, size * (steps + more) * Math.Pow(2, -24));
                }
        }
    }

    [PairFact]
    public void What_is_not_a_number_stays_one_and_the_infinite_infinite()
    {
        float[] values = [.. Enumerable.Repeat(1f, 40 * 40)];
        (values[3], values[45], values[90]) = (float.NaN, BitConverter.UInt32BitsToSingle(0x7FFFFFFF), float.PositiveInfinity);
        using Tensor x = device.From(values, [40, 40]), w = device.From([.. Enumerable.Repeat(1f, 40 * 40)], [40, 40]);
        using Tensor y = device.Empty([40, 40]);
        device.MatMul(x, false, w, false, y);
        float[] got = y.ToArray();
        Assert.True(float.IsNaN(got[0]) && float.IsNaN(got[40]) && float.IsPositiveInfinity(got[80]));
        Assert.Equal(40, got[120]);
    }

    private static float Rounded(float value) => DTypes.FromBFloat16(DTypes.ToBFloat16(value));

    private sealed class PairFactAttribute : FactAttribute
    {
        public PairFactAttribute() => Skip = PairKernels.AreThere ? null : "This chip or system has no products of bfloat16.";
    }

    private sealed class PairPropertyAttribute : PropertyAttribute
    {
        public PairPropertyAttribute() =>
            (MaxTest, Skip) = (40, PairKernels.AreThere ? null : "This chip or system has no products of bfloat16.");
    }
}
