using System.Numerics;
using System.Runtime.InteropServices;
using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private Tensor? nf4Table;

    private protected override FrozenMatrix FreezeCore(IReadOnlyList<QuantizedMatrix> parts)
    {
        int columns = parts[0].Inputs, rows = parts.Sum(part => part.Outputs);
        bool nf4 = parts[0].Format != WeightFormat.Int8;
        if (nf4) nf4Table ??= From(CodeBook.Nf4.Values, [CodeBook.Nf4.Values.Length]);
        int words = Blocks.For(columns, nf4 ? CodeKernels.PairsOfWord : CodeKernels.BytesOfWord);
        int group = nf4 ? (int)BigInteger.GreatestCommonDivisor(columns, QuantizedMatrix.BlockSize) : columns;
        int[] codes = new int[rows * words];
        float[] scales = new float[rows * (columns / group)];
        Span<byte> left = MemoryMarshal.AsBytes(codes.AsSpan());
        byte[] row = new byte[columns];
        int at = 0;
        foreach (QuantizedMatrix part in parts)
        {
            for (int o = 0; o < part.Outputs; o++, left = left[(words * sizeof(int))..])
            {
                part.RowCodes(o, row);
                for (int i = 0; i < columns; i++) left[nf4 ? i / 2 : i] |= (byte)(nf4 && i % 2 == 1 ? row[i] << 4 : row[i]);
                for (int i = 0; i < columns; i += group, at++)
                    scales[at] = nf4 ? part.Scale(((long)o * columns + i) / QuantizedMatrix.BlockSize) : part.Scales[o];
            }
        }
        Tensor stored = From(codes), magnitudes = From(scales, [rows, columns / group]);
        CodeShape shape = new()
        {
            Rows = rows,
            Columns = columns,
            Words = words,
            // Numbers of values that share a magnitude are powers of two in NF4, and whole rows in int8.
            GroupShift = nf4 ? BitOperations.Log2((uint)group) : 31,
            Groups = columns / group,
        };
        return new GpuFrozenMatrix(this, stored, magnitudes, shape, parts[0].Format);
    }

    private protected override FrozenRows FreezeRowsCore(int rows, int columns, WeightFormat format, bool compact) =>
        new UploadedRows(this, Empty([columns, rows]), format);

    // Wᵀ (out, in) as float32, in memory of the pool that the next map gets again.
    private Tensor Expanded(GpuFrozenMatrix w)
    {
        CodeShape shape = w.Shape;
        Tensor whole = Empty([shape.Rows, shape.Columns]);
        Blocks blocks = new(shape.Rows, Blocks.For(shape.Words, 128));
        if (w.Format == WeightFormat.Int8)
        {
            Launch(CodeKernels.ExpandInt8, blocks, Ints(w.Weight), Floats(w.Scales!), Floats(whole), shape);
            return whole;
        }
        Launch(CodeKernels.ExpandNf4, blocks, Ints(w.Weight), Floats(w.Scales!), Floats(nf4Table!), Floats(whole), shape);
        return whole;
    }

    // Uploaded piece by piece, and frozen when all are there.
    private sealed class UploadedRows(GpuDevice device, Tensor whole, WeightFormat format) : FrozenRows
    {
        private int uploaded;

        public override void Add(ReadOnlySpan<float> values)
        {
            device.UploadAt(values, whole, uploaded);
            uploaded += values.Length;
        }

        public override FrozenMatrix Finish()
        {
            if (uploaded != whole.Length) throw new ShapeException($"Freeze: {uploaded} of {whole.Length} values came.");
            FrozenMatrix frozen = device.Freeze(whole, transposed: true, format);
            whole.Dispose();
            return frozen;
        }

        public override void Dispose() => whole.Dispose();
    }
}

/// <summary>
/// A weight (out, in) in codes: rows of words, each of four signed bytes or of eight halves of a byte, lowest first; and of each row
/// the magnitudes, one for each 2^GroupShift values.
/// </summary>
internal struct CodeShape
{
    public int Rows, Columns, Words, GroupShift, Groups;
}

/// <summary>Codes of 8 and 4 bits as float32; a thread expands one word.</summary>
internal static class CodeKernels
{
    public const int BytesOfWord = 4, PairsOfWord = 8;

    /// <summary>code · magnitude · 1/127, in that order.</summary>
    [Kernel(128)]
    public static void ExpandInt8(ArrayView<int> codes, ArrayView<float> scales, ArrayView<float> to, CodeShape shape)
    {
        int word = Grid.IdxY * Group.DimX + Group.IdxX, row = Grid.IdxX;
        if (word >= shape.Words) return;
        uint bits = (uint)codes[(long)row * shape.Words + word];
        float scale = scales[row];
        Float4 values = Float4.Of(Signed(bits, scale), Signed(bits >> 8, scale), Signed(bits >> 16, scale), Signed(bits >> 24, scale));
        Put(values, to, shape, row, BytesOfWord * word);
    }

    /// <summary>The code's value · magnitude.</summary>
    [Kernel(128)]
    public static void ExpandNf4(
        ArrayView<int> codes, ArrayView<float> scales, ArrayView<float> table, ArrayView<float> to, CodeShape shape)
    {
        int word = Grid.IdxY * Group.DimX + Group.IdxX, row = Grid.IdxX;
        if (word >= shape.Words) return;
        uint bits = (uint)codes[(long)row * shape.Words + word];
        for (int half = 0; half < 2; half++)
        {
            int column = PairsOfWord * word + 4 * half;
            if (column >= shape.Columns) return;
            Float4 values = Float4.Of(
                Value(bits, table, scales, shape, row, column), Value(bits >> 4, table, scales, shape, row, column + 1),
                Value(bits >> 8, table, scales, shape, row, column + 2), Value(bits >> 12, table, scales, shape, row, column + 3));
            Put(values, to, shape, row, column);
            bits >>= 16;
        }
    }

    // The lowest byte, whose sign is its highest bit.
    private static float Signed(uint bits, float scale)
    {
        int code = (int)(bits & 0xFF);
        return (code < 128 ? code : code - 256) * scale * QuantizedMatrix.ByteStep;
    }

    // Beyond the row's end, what its last magnitude makes of the code.
    private static float Value(uint bits, ArrayView<float> table, ArrayView<float> scales, CodeShape shape, int row, int column)
    {
        int group = column >> shape.GroupShift, last = shape.Groups - 1;
        return table[(int)(bits & 15)] * scales[(long)row * shape.Groups + (group < last ? group : last)];
    }

    // Four neighbors, as far as the row goes.
    private static void Put(Float4 values, ArrayView<float> to, CodeShape shape, int row, int column)
    {
        long at = (long)row * shape.Columns + column;
        if ((shape.Columns & 3) == 0)
        {
            to.Cast<Float4>()[at / 4] = values;
            return;
        }
        to[at] = values.X;
        if (column + 1 < shape.Columns) to[at + 1] = values.Y;
        if (column + 2 < shape.Columns) to[at + 2] = values.Z;
        if (column + 3 < shape.Columns) to[at + 3] = values.W;
    }
}
