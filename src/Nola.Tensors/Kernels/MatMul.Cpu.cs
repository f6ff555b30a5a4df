namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override FrozenMatrix FreezeCore(Matrix weight, bool transposed, WeightFormat format)
    {
        (int rows, int columns) = transposed ? (weight.Columns, weight.Rows) : (weight.Rows, weight.Columns);
        // Element (i, o) of W; a transposed source swaps the strides.
        (nint row, nint column) = transposed ? ((nint)1, (nint)weight.Stride) : (weight.Stride, 1);
        Tensor packed = Empty([Gemm.Panels(columns), rows, Gemm.PanelWidth]);
        Gemm.Pack(team, Floats(weight), row, column, rows, columns, Floats(packed));
        return new PackedMatrix(this, rows, columns, format == WeightFormat.Float32 ? packed : Narrow(packed));
    }

    /// <inheritdoc/>
    public override void Unpack(FrozenMatrix w, Tensor weight, bool transposed = false)
    {
        PackedMatrix packed = (PackedMatrix)w;
        (int rows, int columns) = transposed ? (w.Columns, w.Rows) : (w.Rows, w.Columns);
        if (weight.Shape.Rows != rows || weight.Shape.Columns != columns)
            throw new ShapeException($"Unpack: the frozen matrix needs ({rows}, {columns}) and the tensor is {weight.Shape}.");
        float* to = Floats(weight);
        team.For(w.Rows, 16, (start, end) =>
        {
            for (int i = start; i < end; i++)
                for (int o = 0; o < w.Columns; o++)
                    to[transposed ? (long)o * w.Rows + i : (long)i * w.Columns + o] = packed.Element(i, o);
        });
    }

    private protected override void MatMulCore(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, float alpha, float beta, Tensor? bias)
    {
        int m = c.Rows, n = c.Columns, k = transposeA ? a.Rows : a.Columns;
        using Tensor packed = PackOperand(b, transposeB, k, n);
        Operand left = transposeA ? new(Floats(a), 1, a.Stride) : new(Floats(a), a.Stride, 1);
        Gemm.Multiply(team, m, n, k, left, Floats(packed), Floats(c), c.Stride, alpha,
            bias is null ? null : Floats(bias), beta != 0);
    }

    private protected override void MatMulCore(Tensor x, FrozenMatrix w, Tensor? bias, Tensor y, float beta, Tensor? residual, Tensor? activated)
    {
        float* b = bias is null ? null : Floats(bias);
        Operand left = new(Floats(x), w.Rows, 1);
        Gemm.Epilogue? after = residual is null && activated is null ? null : Epilogue(Floats(y), residual, activated, w.Columns);
        Gemm.Multiply(team, x.Shape.Rows, w.Columns, w.Rows, left, ((PackedMatrix)w).Forward, Floats(y), w.Columns, 1, b, beta != 0, after);
    }

    private static Gemm.Epilogue Epilogue(float* y, Tensor? residual, Tensor? activated, int stride)
    {
        float* r = residual is null ? null : Floats(residual), g = activated is null ? null : Floats(activated);
        return (row, column, rows, columns) =>
        {
            for (long at = (long)row * stride + column; rows > 0; rows--, at += stride)
            {
                if (r != null) Dispatch.Run(new ElementwiseLoop<AddFormula>(y + at, r + at, y + at, 1, 0), 0, columns);
                if (g != null) Dispatch.Run(new ElementwiseLoop<GeluFormula>(y + at, y + at, g + at, 1, 0), 0, columns);
            }
        };
    }

    private protected override void MatMulTransposedCore(Tensor dy, FrozenMatrix w, Tensor dx, float beta, Tensor? preactivation)
    {
        if (preactivation is not null) GeluGradCore(preactivation, dy, preactivation, 0);
        Operand left = new(Floats(preactivation ?? dy), w.Columns, 1);
        Gemm.Multiply(team, dy.Shape.Rows, w.Rows, w.Columns, left, ((PackedMatrix)w).Backward, Floats(dx), w.Rows, 1, null, beta != 0);
    }

    // op(b) (k × n) in panels, in memory of the pool.
    private Tensor PackOperand(Matrix b, bool transposed, int k, int n)
    {
        Tensor packed = Empty([Gemm.Panels(n), k, Gemm.PanelWidth]);
        float* from = Floats(b);
        float* to = Floats(packed);
        (nint row, nint column) = transposed ? ((nint)1, (nint)b.Stride) : (b.Stride, 1);
        Gemm.Pack(team, from, row, column, k, n, to);
        return packed;
    }

    // Rounded to bfloat16; the float32 tensor goes back to the pool.
    private Tensor Narrow(Tensor wide)
    {
        Tensor narrow = Empty(wide.Shape, DType.BFloat16);
        float* from = Floats(wide);
        ushort* to = Halves(narrow);
        team.For(wide.Length, Piece, (start, end) =>
        {
            for (int i = start; i < end; i++) to[i] = DTypes.ToBFloat16(from[i]);
        });
        wide.Dispose();
        return narrow;
    }

    private static Panels PanelsOf(Tensor packed) => packed.DType == DType.Float32 ? new(Floats(packed), null) : new(null, Halves(packed));

    /// <summary>
    /// W (in, out) as the right operand of x·W (panels of out, steps of in) and, from the first time that it is asked for,
    /// of dy·Wᵀ (panels of in, steps of out).
    /// </summary>
    internal sealed class PackedMatrix(CpuDevice device, int rows, int columns, Tensor forward) : FrozenMatrix(rows, columns, WeightFormats.Of(forward.DType))
    {
        private Tensor? backward;

        public Panels Forward => PanelsOf(forward);

        public Panels Backward => PanelsOf(backward ??= Transposed());

        public override long Bytes => forward.Bytes + (backward?.Bytes ?? 0);

        public float Element(int i, int o) => Forward.Element(Index(i, o));

        /// <summary>Column o of W, which for a head is a token's embedding. It does not ask for <see cref="Backward"/>.</summary>
        public void Column(int o, float* to)
        {
            int width = Gemm.PanelWidth;
            if (backward is null)
            {
                for (int i = 0; i < Rows; i++) to[i] = Element(i, o);
                return;
            }
            for (int i = 0; i < Rows; i += width)
                PanelsOf(backward).Expand(((long)(i / width) * Columns + o) * width, Math.Min(width, Rows - i), to + i);
        }

        public override void Dispose()
        {
            forward.Dispose();
            backward?.Dispose();
        }

        private long Index(int i, int o) => ((long)(o / Gemm.PanelWidth) * Rows + i) * Gemm.PanelWidth + o % Gemm.PanelWidth;

        private Tensor Transposed()
        {
            Tensor packed = device.Empty([Gemm.Panels(Rows), Columns, Gemm.PanelWidth], Format.ElementType());
            Panels from = Forward, to = PanelsOf(packed);
            device.team.For(Gemm.Panels(Rows), 1, (first, last) => Gemm.TransposePanels(from, Rows, Columns, to, first, last));
            return packed;
        }
    }
}
