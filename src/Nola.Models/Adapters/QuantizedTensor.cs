using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A stack of vectors, one for each adapted layer, at 8, 4, 3 or 2 bits. In a file: <c>….codes</c>, U8
/// (L, ⌈n · bits / 8⌉), and <c>….steps</c>, F32 (L).
/// </summary>
internal sealed class QuantizedTensor
{
    private readonly int layers, length, bits;
    private readonly float[] steps;
    private readonly sbyte[] codes;

    private QuantizedTensor(int layers, int length, int bits)
    {
        (this.layers, this.length, this.bits) = (layers, length, bits);
        (steps, codes) = (new float[layers], new sbyte[layers * length]);
    }

    private int Bytes => CoefficientQuantizer.PackedLength(length, bits);

    /// <summary>The codes of values, row-major, whose outermost dimension is the layers.</summary>
    /// <exception cref="NolaException">A value is not finite.</exception>
    public static QuantizedTensor Of(float[] values, int layers, int bits)
    {
        QuantizedTensor tensor = new(layers, values.Length / layers, bits);
        for (int l = 0; l < layers; l++)
            tensor.steps[l] = CoefficientQuantizer.Quantize(values.AsSpan(l * tensor.length, tensor.length), bits, tensor.Row(l));
        return tensor;
    }

    /// <summary>Reads and checks a stack.</summary>
    /// <exception cref="NolaException">The file holds no such stack.</exception>
    public static QuantizedTensor Read(Safetensors file, string name, Shape shape, int bits)
    {
        SafetensorsEntry packed = file.Get(name + ".codes"), scale = file.Get(name + ".steps");
        int layers = shape[0], length = shape.Length / layers, bytes = CoefficientQuantizer.PackedLength(length, bits);
        bool fits = packed.Type == "U8" && packed.Shape.SequenceEqual([layers, bytes])
            && scale.Type == "F32" && scale.Shape.SequenceEqual([layers]);
        if (!fits)
            throw new NolaException(
                $"{file.Path}: '{packed.Name}' is {packed.Type} [{string.Join(", ", packed.Shape)}] and its steps "
                + $"{scale.Type} [{string.Join(", ", scale.Shape)}]; {shape} at {bits} bits needs U8 [{layers}, "
                + $"{bytes}] and F32 [{layers}]. The file is damaged.");
        QuantizedTensor tensor = new(layers, length, bits);
        file.ReadFloats(scale, tensor.steps);
        for (int l = 0; l < layers; l++)
        {
            bool written = CoefficientQuantizer.IsStep(tensor.steps[l], bits)
                && CoefficientQuantizer.TryUnpack(file.Bytes(packed).Slice(l * bytes, bytes), bits, tensor.Row(l));
            if (!written)
                throw new NolaException(
                    $"{file.Path}: row {l} of '{packed.Name}' has a code or a step that is never written; the file is damaged.");
        }
        return tensor;
    }

    /// <summary>What the codes stand for.</summary>
    public float[] Values()
    {
        float[] values = new float[codes.Length];
        for (int l = 0; l < layers; l++) CoefficientQuantizer.Dequantize(Row(l), steps[l], values.AsSpan(l * length, length));
        return values;
    }

    /// <summary>For a file.</summary>
    public IEnumerable<SafetensorsTensor> Tensors(string name)
    {
        byte[] packed = new byte[layers * Bytes];
        for (int l = 0; l < layers; l++) CoefficientQuantizer.Pack(Row(l), bits, packed.AsSpan(l * Bytes, Bytes));
        return
        [
            SafetensorsTensor.OfBytes(name + ".codes", [layers, Bytes], packed),
            new SafetensorsTensor(name + ".steps", [layers], steps),
        ];
    }

    private Span<sbyte> Row(int layer) => codes.AsSpan(layer * length, length);
}
