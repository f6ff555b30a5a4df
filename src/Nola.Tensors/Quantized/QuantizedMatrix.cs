using System.Numerics.Tensors;

namespace Nola.Tensors;

/// <summary>
/// A weight (out, in) in 8 or 4 bits on the host, byte for byte as bitsandbytes has it. Int8: a code for each value and the largest
/// magnitude of each row. NF4: blocks of 64 values in row-major order, which cross rows, the last one as long as it gets; two
/// codes a byte, the first in the high half, and the largest magnitude of each block.
/// </summary>
internal sealed class QuantizedMatrix
{
    /// <summary>Values of a block of NF4.</summary>
    public const int BlockSize = 64;

    /// <summary>What 1/127 is in float32.</summary>
    public const float ByteStep = 7.874015718698502e-3f;

    /// <summary>Takes the arrays over.</summary>
    /// <param name="format">One of those in 8 or 4 bits.</param>
    /// <param name="outputs">Rows.</param>
    /// <param name="inputs">Columns.</param>
    /// <param name="codes">Int8: (out · in) signed bytes. NF4: ⌈out · in / 2⌉ bytes.</param>
    /// <param name="scales">Largest magnitudes: of rows, or of blocks. Empty when they are nested.</param>
    /// <param name="nested">Largest magnitudes of blocks in 8 bits, for double quantization.</param>
    public QuantizedMatrix(WeightFormat format, int outputs, int inputs, byte[] codes, float[] scales, NestedScales? nested = null)
    {
        (Format, Outputs, Inputs, Codes, Scales, Nested) = (format, outputs, inputs, codes, scales, nested);
        (long bytes, long count) = Sizes(format, outputs, inputs);
        int given = nested?.Codes.Length ?? scales.Length;
        if (codes.Length != bytes || given != count || (nested is not null) != (format == WeightFormat.Nf4Double))
            throw new ShapeException(
                $"QuantizedMatrix: {codes.Length} bytes and {given} scales of ({outputs}, {inputs}); expected {bytes} and {count}.");
    }

    public WeightFormat Format { get; }

    /// <summary>out.</summary>
    public int Outputs { get; }

    /// <summary>in.</summary>
    public int Inputs { get; }

    public byte[] Codes { get; }

    public float[] Scales { get; }

    public NestedScales? Nested { get; }

    /// <summary>Bytes of codes, and number of scales.</summary>
    public static (long Bytes, long Scales) Sizes(WeightFormat format, int outputs, int inputs)
    {
        long values = (long)outputs * inputs;
        return format == WeightFormat.Int8 ? (values, outputs) : ((values + 1) / 2, (values + BlockSize - 1) / BlockSize);
    }

    /// <summary>Quantizes a whole matrix.</summary>
    /// <param name="format">One of those in 8 or 4 bits.</param>
    /// <param name="values">(out, in), row-major.</param>
    /// <param name="outputs">Rows.</param>
    /// <param name="inputs">Columns.</param>
    public static QuantizedMatrix Of(WeightFormat format, ReadOnlySpan<float> values, int outputs, int inputs)
    {
        MatrixQuantizer quantizer = new(format, outputs, inputs);
        quantizer.Add(values);
        return quantizer.Finish();
    }

    /// <summary>The largest magnitude of a row of int8, or of a block of NF4.</summary>
    public float Scale(long index) => Nested is null ? Scales[index] : Nested.Scale(index);

    /// <summary>The codes of one row, one in a byte.</summary>
    public void RowCodes(int row, Span<byte> codes)
    {
        long first = (long)row * Inputs;
        if (Format == WeightFormat.Int8)
        {
            Codes.AsSpan((int)first, Inputs).CopyTo(codes);
            return;
        }
        for (int i = 0; i < Inputs; i++)
        {
            byte pair = Codes[(first + i) / 2];
            codes[i] = (byte)(((first + i) & 1) == 0 ? pair >> 4 : pair & 15);
        }
    }

    /// <summary>The values of one row: NF4's code · scale, or int8's code · scale · 1/127 in that order, in float32.</summary>
    public void Row(int row, Span<float> values)
    {
        byte[] codes = new byte[Inputs];
        RowCodes(row, codes);
        for (int i = 0; i < Inputs; i++)
        {
            values[i] = Format == WeightFormat.Int8
                ? (sbyte)codes[i] * Scales[row] * ByteStep
                : CodeBook.Nf4.Values[codes[i]] * Scale(((long)row * Inputs + i) / BlockSize);
        }
    }

    /// <summary>All values. (out, in)</summary>
    public float[] Values()
    {
        float[] values = new float[(long)Outputs * Inputs];
        for (int row = 0; row < Outputs; row++) Row(row, values.AsSpan((int)((long)row * Inputs), Inputs));
        return values;
    }

    /// <summary>The same values with magnitudes in float32.</summary>
    public QuantizedMatrix WithoutNesting() => Nested is null
        ? this
        : new(WeightFormat.Nf4, Outputs, Inputs, Codes, [.. Enumerable.Range(0, Nested.Codes.Length).Select(block => Nested.Scale(block))]);
}

/// <summary>
/// Largest magnitudes of blocks in 8 bits: less their mean, in blocks of 256, in the codes of <see cref="CodeBook.Dynamic"/>.
/// </summary>
/// <param name="Codes">One for each block.</param>
/// <param name="Scales">The largest magnitude of each 256 of them.</param>
/// <param name="Offset">The mean.</param>
/// <param name="Map">What the codes stand for. (256)</param>
internal sealed record NestedScales(byte[] Codes, float[] Scales, float Offset, float[] Map)
{
    /// <summary>Magnitudes of a block.</summary>
    public const int BlockSize = 256;

    /// <summary>Quantizes magnitudes.</summary>
    public static NestedScales Of(ReadOnlySpan<float> scales)
    {
        double sum = 0;
        foreach (float scale in scales) sum += scale;
        float offset = (float)(sum / Math.Max(1, scales.Length));
        float[] centered = new float[scales.Length];
        TensorPrimitives.Subtract(scales, offset, centered);
        byte[] codes = new byte[scales.Length];
        float[] nested = new float[(scales.Length + BlockSize - 1) / BlockSize];
        for (int i = 0; i < nested.Length; i++)
        {
            int first = i * BlockSize, length = Math.Min(BlockSize, codes.Length - first);
            float largest = CodeBook.Dynamic.Encode(centered.AsSpan(first, length), length == BlockSize, codes.AsSpan(first, length));
            nested[i] = MathF.Max(largest, CodeBook.LeastScale);
        }
        return new(codes, nested, offset, CodeBook.Dynamic.Values);
    }

    /// <summary>Bytes of codes and scales.</summary>
    public long Bytes => Codes.Length + sizeof(float) * (long)Scales.Length;

    /// <summary>The magnitude of a block of values.</summary>
    public float Scale(long block) => Map[Codes[block]] * Scales[block / BlockSize] + Offset;
}
