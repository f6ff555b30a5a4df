using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Text.Json;
using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Int8 and NF4 against bitsandbytes (data/golden/quant), bit for bit.</summary>
public sealed class QuantizationTests : IDisposable
{
    private static readonly string place = Path.Combine(AppContext.BaseDirectory, "data", "golden", "quant");

    private readonly Safetensors expected = Safetensors.Open(Path.Combine(place, "expected.safetensors"));
    private readonly CpuDevice device = new(2);

    public static TheoryData<string> Matrices
    {
        get
        {
            using JsonDocument golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(place, "case.json")));
            return [.. golden.RootElement.GetProperty("matrices").EnumerateObject().Select(matrix => matrix.Name)];
        }
    }

    public void Dispose()
    {
        expected.Dispose();
        device.Dispose();
    }

    [Fact]
    public void Code_books_are_those_of_bitsandbytes()
    {
        Assert.Equal(Floats("nf4.code"), CodeBook.Nf4.Values);
        Assert.Equal(Floats("dynamic.code"), CodeBook.Dynamic.Values);
    }

    [Theory]
    [MemberData(nameof(Matrices))]
    public void Int8_has_the_bytes_of_bitsandbytes(string name)
    {
        QuantizedMatrix matrix = Quantized(name, WeightFormat.Int8);
        Assert.Equal(Bytes($"int8.{name}.q"), matrix.Codes);
        Assert.Equal(Floats($"int8.{name}.absmax"), matrix.Scales);
        Assert.Equal(Floats($"int8.{name}.dequantised"), matrix.Values());
    }

    [Theory]
    [MemberData(nameof(Matrices))]
    public void Nf4_has_the_bytes_of_bitsandbytes(string name)
    {
        QuantizedMatrix matrix = Quantized(name, WeightFormat.Nf4);
        Assert.Equal(Bytes($"nf4.{name}.packed"), matrix.Codes);
        Assert.Equal(Floats($"nf4.{name}.absmax"), matrix.Scales);
        Assert.Equal(Floats($"nf4.{name}.dequantised"), matrix.Values());
    }

    [Theory]
    [MemberData(nameof(Matrices))]
    public void Double_quantization_has_the_bytes_of_bitsandbytes(string name)
    {
        QuantizedMatrix matrix = Quantized(name, WeightFormat.Nf4Double);
        Assert.Equal(Bytes($"nf4.{name}.packed"), matrix.Codes);
        // A mean in float32 depends on the order in which it is summed.
        float offset = Floats($"nf4dq.{name}.offset")[0];
        Assert.Equal(offset, matrix.Nested!.Offset, Math.Abs(offset) * 1e-6);
        Assert.Equal(Bytes($"nf4dq.{name}.absmax"), matrix.Nested.Codes);
        NestedScales theirs = matrix.Nested with { Offset = offset, Scales = Floats($"nf4dq.{name}.nested_absmax") };
        // What is left of magnitudes without their mean is off by as much as the mean is.
        Assert.All(theirs.Scales.Zip(matrix.Nested.Scales), pair => Assert.Equal(pair.First, pair.Second, Math.Abs(offset) * 1e-6));
        QuantizedMatrix same = new(matrix.Format, matrix.Outputs, matrix.Inputs, matrix.Codes, [], theirs);
        Assert.Equal(Floats($"nf4dq.{name}.absmax_restored"), same.WithoutNesting().Scales);
        Assert.Equal(Floats($"nf4dq.{name}.dequantised"), same.Values());
        Assert.Equal(same.Values(), same.WithoutNesting().Values());
    }

    [Theory]
    [InlineData(WeightFormat.Int8, "product.int8")]
    [InlineData(WeightFormat.Nf4, "product.nf4")]
    [InlineData(WeightFormat.Nf4Double, "product.nf4dq")]
    public void A_product_is_that_of_the_values_that_codes_stand_for(WeightFormat format, string name)
    {
        const string Matrix = "mid_130x70";
        (int outputs, int inputs) = Shape(Matrix);
        using Tensor weight = device.From(Floats("w." + Matrix), [outputs, inputs]), x = device.From(Floats("x"), [5, inputs]);
        using Tensor y = device.Empty([5, outputs]);
        using FrozenMatrix frozen = device.Freeze(weight, transposed: true, format);
        device.MatMul(x, frozen, null, y);
        float[] product = Floats(name);
        Assert.All(y.ToArray().Zip(product), pair => Assert.Equal(pair.Second, pair.First, 1e-5 * product.Max(MathF.Abs)));
    }

    [Property(MaxTest = 20)]
    public void Values_that_come_in_pieces_give_the_same_bytes(int seed)
    {
        Random r = new(seed);
        (int outputs, int inputs) = (1 + r.Next(40), 1 + r.Next(200));
        float[] values = OpCheck.Values(r, outputs * inputs, 1);
        foreach (WeightFormat format in (WeightFormat[])[WeightFormat.Int8, WeightFormat.Nf4, WeightFormat.Nf4Double])
        {
            MatrixQuantizer quantizer = new(format, outputs, inputs);
            for (int at = 0, some; at < values.Length; at += some)
                quantizer.Add(values.AsSpan(at, some = Math.Min(values.Length - at, r.Next(150))));
            QuantizedMatrix pieces = quantizer.Finish(), whole = QuantizedMatrix.Of(format, values, outputs, inputs);
            Assert.Equal(whole.Codes, pieces.Codes);
            Assert.Equal(whole.Values(), pieces.Values());
        }
    }

    [Fact]
    public void A_frozen_weight_takes_the_bytes_of_its_format()
    {
        // 4,096 values: 64 rows, 64 blocks. Of a row its magnitude and that by 127.
        using Tensor weight = device.From(OpCheck.Values(new Random(1), 4096, 1), [64, 64]);
        Assert.Equal(4096 + 2 * 4 * 64, Bytes(WeightFormat.Int8));
        Assert.Equal(2048 + 4 * 64, Bytes(WeightFormat.Nf4));
        // The largest of the magnitudes, and what their codes stand for.
        Assert.Equal(2048 + 64 + 4 + 4 * 256, Bytes(WeightFormat.Nf4Double));

        long Bytes(WeightFormat format)
        {
            using FrozenMatrix frozen = device.Freeze(weight, transposed: true, format);
            return frozen.Bytes;
        }
    }

    [Property(MaxTest = 10)]
    public void Every_vector_width_reads_codes(int seed)
    {
        Random r = new(seed);
        Check<Simd128, Vector128<float>>(r);
        Check<Simd256, Vector256<float>>(r);
        Check<Simd512, Vector512<float>>(r);
    }

    [Property(MaxTest = 20)]
    public unsafe void Rectangles_of_bytes_and_halves_are_transposed(int seed)
    {
        Random r = new(seed);
        int rows = 1 + r.Next(40), columns = 1 + r.Next(40);
        byte[] bytes = new byte[rows * columns], turned = new byte[rows * columns];
        r.NextBytes(bytes);
        ushort[] halves = [.. bytes.Select(b => (ushort)(257 * b + 1))], turnedHalves = new ushort[halves.Length];
        fixed (byte* from = bytes, to = turned) Transpose.Bytes(from, columns, to, rows, rows, columns);
        fixed (ushort* from = halves, to = turnedHalves) Transpose.Halves(from, columns, to, rows, rows, columns);
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
            {
                Assert.Equal(bytes[i * columns + j], turned[j * rows + i]);
                Assert.Equal(halves[i * columns + j], turnedHalves[j * rows + i]);
            }
        }
    }

    private static unsafe void Check<S, V>(Random r) where S : struct, ISimd<V> where V : struct
    {
        int width = S.Width;
        byte[] source = new byte[2 * width];
        r.NextBytes(source);
        float[] table = CodeBook.Nf4.Values, read = new float[4 * width];
        fixed (byte* from = source)
        fixed (float* values = table, to = read)
        {
            S.LookUp(from, values, out V lower, out V upper);
            S.Store(lower, to);
            S.Store(upper, to + width);
            S.Store(S.FromBytes((sbyte*)from), to + 2 * width);
            S.Store(S.FromHalves((ushort*)from), to + 3 * width);
        }
        for (int i = 0; i < width; i++)
        {
            Assert.Equal(table[source[i] & 15], read[i]);
            Assert.Equal(table[source[i] >> 4], read[width + i]);
            Assert.Equal((sbyte)source[i], read[2 * width + i]);
            Assert.Equal(DTypes.FromBFloat16(BitConverter.ToUInt16(source, 2 * i)), read[3 * width + i]);
        }
    }

    private QuantizedMatrix Quantized(string name, WeightFormat format)
    {
        (int outputs, int inputs) = Shape(name);
        return QuantizedMatrix.Of(format, Floats("w." + name), outputs, inputs);
    }

    private (int, int) Shape(string name)
    {
        long[] shape = expected.Get("w." + name).Shape;
        return ((int)shape[0], (int)shape[1]);
    }

    private float[] Floats(string name) => MemoryMarshal.Cast<byte, float>(expected.Bytes(expected.Get(name))).ToArray();

    private byte[] Bytes(string name) => expected.Bytes(expected.Get(name)).ToArray();
}
