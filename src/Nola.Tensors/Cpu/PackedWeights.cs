using System.Runtime.Intrinsics;

namespace Nola.Tensors;

/// <summary>Makes packed weights of the formats, for the widest vectors that the machine has.</summary>
internal static unsafe class PackedWeights
{
    /// <summary>bfloat16. panels: (panels, rows, width), taken over.</summary>
    public static PackedWeight Halves(Tensor panels, int rows, int columns) =>
        Vector512.IsHardwareAccelerated ? new HalfWeight<Simd512, Vector512<float>>(panels, rows, columns)
        : Vector256.IsHardwareAccelerated ? new HalfWeight<Simd256, Vector256<float>>(panels, rows, columns)
        : new HalfWeight<Simd128, Vector128<float>>(panels, rows, columns);

    /// <summary>Int8 or NF4, of matrices (out, in) that lie side by side in the columns of W.</summary>
    public static PackedWeight Of(CpuDevice device, IReadOnlyList<QuantizedMatrix> parts) =>
        Vector512.IsHardwareAccelerated ? Of<Simd512, Vector512<float>>(device, parts)
        : Vector256.IsHardwareAccelerated ? Of<Simd256, Vector256<float>>(device, parts)
        : Of<Simd128, Vector128<float>>(device, parts);

    private static PackedWeight Of<S, V>(CpuDevice device, IReadOnlyList<QuantizedMatrix> parts)
        where S : struct, ISimd<V>
        where V : struct
    {
        int rows = parts[0].Inputs, columns = parts.Sum(part => part.Outputs);
        Columns from = new(parts);
        return parts[0].Format == WeightFormat.Int8
            ? new Int8Weight<S, V>(Bytes(device, from, rows, columns), Scales(device, parts, columns), rows, columns)
            : new Nf4Weight<S, V>(Words(device, from, rows, columns), new Nf4Scales(device, parts), rows, columns);
    }

    // A byte a value: (panels, rows, width).
    private static Tensor Bytes(CpuDevice device, Columns from, int rows, int columns)
    {
        int width = Gemm.PanelWidth;
        Tensor codes = device.Empty([Gemm.Panels(columns), rows, width / sizeof(int)], DType.Int32);
        byte* to = (byte*)CpuDevice.Ints(codes);
        device.Team.For(Gemm.Panels(columns), 1, (first, last) =>
        {
            byte* across = (byte*)Scratch.Floats((long)rows * width / sizeof(float));
            for (int panel = first; panel < last; panel++)
            {
                for (int c = 0; c < width; c++) from.Codes(panel * width + c, 0, new Span<byte>(across + (long)c * rows, rows));
                Transpose.Bytes(across, rows, to + (long)panel * rows * width, width, width, rows);
            }
        });
        return codes;
    }

    // Four bits a value: (panels, fours of rows, width / 2) words.
    private static Tensor Words(CpuDevice device, Columns from, int rows, int columns)
    {
        const byte Zero = 7;
        int half = Gemm.PanelWidth / 2, fours = (rows + 3) / 4;
        Tensor codes = device.Empty([Gemm.Panels(columns), fours, half], DType.Int32);
        uint* to = (uint*)CpuDevice.Ints(codes);
        device.Team.For(Gemm.Panels(columns), 1, (first, last) =>
        {
            byte[] upper = new byte[rows];
            uint* across = (uint*)Scratch.Floats((long)fours * half);
            for (int panel = first; panel < last; panel++)
            {
                for (int c = 0; c < half; c++)
                {
                    Span<byte> lower = new(across + (long)c * fours, 4 * fours);
                    lower[rows..].Fill(Zero | Zero << 4);
                    from.Codes(2 * panel * half + c, Zero, lower[..rows]);
                    from.Codes((2 * panel + 1) * half + c, Zero, upper);
                    for (int i = 0; i < rows; i++) lower[i] |= (byte)(upper[i] << 4);
                }
                Transpose.Words(across, fours, to + (long)panel * fours * half, half, half, fours);
            }
        });
        return codes;
    }

    // Magnitudes, and what they are divided by 127: (2, panels, width).
    private static Tensor Scales(CpuDevice device, IReadOnlyList<QuantizedMatrix> parts, int columns)
    {
        Tensor scales = device.Empty([2, Gemm.Panels(columns), Gemm.PanelWidth]);
        Span<float> all = new(CpuDevice.Floats(scales), scales.Length), to = all;
        all.Clear();
        foreach (QuantizedMatrix part in parts)
        {
            part.Scales.CopyTo(to);
            to = to[part.Outputs..];
        }
        int half = all.Length / 2;
        for (int i = 0; i < half; i++) all[half + i] = all[i] * QuantizedMatrix.ByteStep;
        return scales;
    }

    // The columns of W, which are the rows of the matrices.
    private sealed class Columns
    {
        private readonly IReadOnlyList<QuantizedMatrix> parts;
        private readonly int[] ends;

        public Columns(IReadOnlyList<QuantizedMatrix> parts)
        {
            int end = 0;
            (this.parts, ends) = (parts, [.. parts.Select(part => end += part.Outputs)]);
        }

        public void Codes(int column, byte missing, Span<byte> to)
        {
            int part = 0;
            while (part < ends.Length && column >= ends[part]) part++;
            if (part == ends.Length) to.Fill(missing);
            else parts[part].RowCodes(column - (ends[part] - parts[part].Outputs), to);
        }
    }
}
