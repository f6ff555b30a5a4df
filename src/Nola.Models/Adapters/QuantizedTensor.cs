using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A stack of vectors, one for each adapted layer, at 8, 4, 3 or 2 bits. In a file: <c>….codes</c>, U8
/// (L, ⌈n · bits / 8⌉), and <c>….steps</c>, F32 (L).
/// </summary>
internal sealed class QuantizedTensor
{
    private readonly int layers, length, bits;
    private readonly float[] steps;                                               // (L)
    private readonly byte[] packed;                                               // (L, ⌈n · bits / 8⌉)

    private QuantizedTensor(int layers, int length, int bits)
    {
        (this.layers, this.length, this.bits) = (layers, length, bits);
        RowBytes = CoefficientQuantizer.PackedLength(length, bits);
        (steps, packed) = (new float[layers], new byte[layers * RowBytes]);
    }

    /// <summary>Bytes that it takes.</summary>
    public long Bytes => packed.Length + (long)steps.Length * sizeof(float);

    private int RowBytes { get; }

    /// <summary>The codes of values, row-major, whose outermost dimension is the layers.</summary>
    /// <exception cref="NolaException">A value is not finite.</exception>
    public static QuantizedTensor Of(float[] values, int layers, int bits)
    {
        QuantizedTensor tensor = new(layers, values.Length / layers, bits);
        sbyte[] codes = new sbyte[tensor.length];
        for (int l = 0; l < layers; l++)
        {
            tensor.steps[l] = CoefficientQuantizer.Quantize(values.AsSpan(l * tensor.length, tensor.length), bits, codes);
            CoefficientQuantizer.Pack(codes, bits, tensor.Row(l));
        }
        return tensor;
    }

    /// <summary>Reads and checks a stack.</summary>
    /// <exception cref="NolaException">The file holds no such stack.</exception>
    public static QuantizedTensor Read(Safetensors file, string name, Shape shape, int bits)
    {
        SafetensorsEntry codes = file.Get(name + ".codes"), scale = file.Get(name + ".steps");
        int layers = shape[0], length = shape.Length / layers, bytes = CoefficientQuantizer.PackedLength(length, bits);
        bool fits = codes.Type == "U8" && codes.Shape.SequenceEqual([layers, bytes])
            && scale.Type == "F32" && scale.Shape.SequenceEqual([layers]);
        if (!fits)
            throw new NolaException(
                $"{file.Path}: '{codes.Name}' is {codes.Type} [{string.Join(", ", codes.Shape)}] and its steps "
                + $"{scale.Type} [{string.Join(", ", scale.Shape)}]; {shape} at {bits} bits needs U8 [{layers}, "
                + $"{bytes}] and F32 [{layers}]. The file is damaged.");
        QuantizedTensor tensor = new(layers, length, bits);
        file.ReadFloats(scale, tensor.steps);
        file.Bytes(codes).CopyTo(tensor.packed);
        sbyte[] unpacked = new sbyte[length];
        for (int l = 0; l < layers; l++)
        {
            bool written = CoefficientQuantizer.IsStep(tensor.steps[l], bits)
                && CoefficientQuantizer.TryUnpack(tensor.Row(l), bits, unpacked);
            if (!written)
                throw new NolaException(
                    $"{file.Path}: row {l} of '{codes.Name}' has a code or a step that is never written; the file is damaged.");
        }
        return tensor;
    }

    /// <summary>What the codes stand for.</summary>
    public float[] Values()
    {
        float[] values = new float[layers * length];
        sbyte[] codes = new sbyte[length];
        for (int l = 0; l < layers; l++)
        {
            CoefficientQuantizer.TryUnpack(Row(l), bits, codes);
            CoefficientQuantizer.Dequantize(codes, steps[l], values.AsSpan(l * length, length));
        }
        return values;
    }

    /// <summary>For a file.</summary>
    public IEnumerable<SafetensorsTensor> Tensors(string name) =>
    [
        SafetensorsTensor.OfBytes(name + ".codes", [layers, RowBytes], packed),
        new SafetensorsTensor(name + ".steps", [layers], steps),
    ];

    // The packed codes of a layer.
    private Span<byte> Row(int layer) => packed.AsSpan(layer * RowBytes, RowBytes);
}
