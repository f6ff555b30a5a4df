using System.Numerics.Tensors;

namespace Nola.Tensors;

/// <summary>Quantizes a matrix (out, in) while its values come, so that they need not exist at once.</summary>
/// <param name="format">One of those in 8 or 4 bits.</param>
/// <param name="outputs">Rows.</param>
/// <param name="inputs">Columns.</param>
internal sealed class MatrixQuantizer(WeightFormat format, int outputs, int inputs)
{
    private const float LargestCode = 127;

    // What is scaled together: a row, or a block.
    private readonly int unit = format == WeightFormat.Int8 ? inputs : QuantizedMatrix.BlockSize;
    private readonly float[] scales = new float[QuantizedMatrix.Sizes(format, outputs, inputs).Scales];
    private readonly byte[] codes = new byte[QuantizedMatrix.Sizes(format, outputs, inputs).Bytes];
    private readonly float[] pending = new float[format == WeightFormat.Int8 ? inputs : QuantizedMatrix.BlockSize];
    private int kept, done;

    /// <summary>Takes the next values in row-major order.</summary>
    public void Add(ReadOnlySpan<float> values)
    {
        if (kept > 0)
        {
            int missing = Math.Min(unit - kept, values.Length);
            values[..missing].CopyTo(pending.AsSpan(kept));
            kept += missing;
            values = values[missing..];
            if (kept < unit) return;
            Encode(pending);
            kept = 0;
        }
        for (; values.Length >= unit; values = values[unit..]) Encode(values[..unit]);
        values.CopyTo(pending);
        kept = values.Length;
    }

    /// <summary>The matrix, when all values have come.</summary>
    public QuantizedMatrix Finish()
    {
        if (kept > 0) Encode(pending.AsSpan(0, kept));
        kept = 0;
        if (done != scales.Length) throw new ShapeException($"MatrixQuantizer: {done} of {scales.Length} rows or blocks came.");
        return format == WeightFormat.Nf4Double
            ? new(format, outputs, inputs, codes, [], NestedScales.Of(scales))
            : new(format, outputs, inputs, codes, scales);
    }

    private void Encode(ReadOnlySpan<float> values)
    {
        if (done == scales.Length) throw new ShapeException($"MatrixQuantizer: more values than ({outputs}, {inputs}) has.");
        scales[done] = format == WeightFormat.Int8
            ? EncodeRow(values, codes.AsSpan(done * inputs, inputs))
            : EncodeBlock(values, codes.AsSpan(done * (QuantizedMatrix.BlockSize / 2)));
        done++;
    }

    // Rounded to the nearest code, ties to even.
    private static float EncodeRow(ReadOnlySpan<float> row, Span<byte> codes)
    {
        float largest = MathF.Abs(TensorPrimitives.MaxMagnitude(row));
        if (largest == 0)
        {
            codes.Clear();
            return 0;
        }
        float factor = LargestCode / largest;
        for (int i = 0; i < row.Length; i++) codes[i] = (byte)(sbyte)MathF.Round(row[i] * factor);
        return largest;
    }

    private static float EncodeBlock(ReadOnlySpan<float> block, Span<byte> pairs)
    {
        // A value that is missing beside the last one is 0.
        const byte Zero = 7;
        Span<byte> single = stackalloc byte[QuantizedMatrix.BlockSize];
        single.Fill(Zero);
        float largest = CodeBook.Nf4.Encode(block, block.Length == QuantizedMatrix.BlockSize, single);
        for (int i = 0; i < block.Length; i += 2) pairs[i / 2] = (byte)(single[i] << 4 | single[i + 1]);
        return largest;
    }
}
