namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    // The least of rows, columns and steps of a product of two tensors that is rounded.
    private const int SmallestRounded = 32;

    // Rows of a product that is computed as its transpose: half a panel of AVX-512.
    private const int NarrowRows = 16;

    private protected override FrozenMatrix FreezeCore(Matrix weight, bool transposed, WeightFormat format)
    {
        (int rows, int columns) = transposed ? (weight.Columns, weight.Rows) : (weight.Rows, weight.Columns);
        // Element (i, o) of W; a transposed source swaps the strides.
        (nint row, nint column) = transposed ? ((nint)1, (nint)weight.Stride) : (weight.Stride, 1);
        Tensor packed = Empty([Gemm.Panels(columns), rows, Gemm.PanelWidth]);
        Gemm.Pack(team, Floats(weight), row, column, rows, columns, Floats(packed));
        return Packed(format == WeightFormat.Float32
            ? new FloatWeight(this, packed, rows, columns, compact: false)
            : PackedWeights.Halves(Narrow(packed), rows, columns));
    }

    /// <summary>A frozen matrix of a packed weight.</summary>
    internal FrozenMatrix Packed(PackedWeight weight) => new PackedMatrix(weight, RoundsProducts ? this : null);

    private protected override FrozenMatrix FreezeCore(IReadOnlyList<QuantizedMatrix> parts) => Packed(PackedWeights.Of(this, parts));

    private protected override FrozenRows FreezeRowsCore(int rows, int columns, WeightFormat format, bool compact) =>
        new PackedRows(this, rows, columns, format, compact);

    /// <inheritdoc/>
    public override void Unpack(FrozenMatrix w, Tensor weight, bool transposed = false)
    {
        const int Steps = 64;
        PackedWeight packed = ((PackedMatrix)w).Weight;
        (int rows, int columns) = transposed ? (w.Columns, w.Rows) : (w.Rows, w.Columns);
        if (weight.Shape.Rows != rows || weight.Shape.Columns != columns)
            throw new ShapeException($"Unpack: the frozen matrix needs ({rows}, {columns}) and the tensor is {weight.Shape}.");
        float* to = Floats(weight);
        int width = Gemm.PanelWidth;
        team.For(Gemm.Panels(w.Columns), 1, (start, end) =>
        {
            float* some = Scratch.Floats(Steps * width);
            for (int panel = start; panel < end; panel++)
                for (int i = 0; i < w.Rows; i += Steps)
                {
                    int steps = Math.Min(Steps, w.Rows - i), first = panel * width, count = Math.Min(width, w.Columns - first);
                    packed.Make(panel, i, steps, some);
                    (long row, long column) = transposed ? (1L, (long)w.Rows) : (w.Columns, 1);
                    for (int p = 0; p < steps; p++)
                        for (int c = 0; c < count; c++) to[(i + p) * row + (first + c) * column] = some[p * width + c];
                }
        });
    }

    private protected override void MatMulCore(
        Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, float alpha, float beta, Tensor? bias)
    {
        int m = c.Rows, n = c.Columns, k = transposeA ? a.Rows : a.Columns;
        // What an adapter adds is of few columns or steps, and is not rounded.
        bool rounds = RoundsProducts && Math.Min(m, Math.Min(n, k)) >= SmallestRounded;
        // A product with so small a side is never rounded. AddLowRank makes the same sums by the same rule.
        if (!transposeA && Gemm.IsNarrow(n, k))
        {
            using Tensor? across = transposeB ? null : Empty([n, k]);
            if (across is not null) Gemm.Transpose(Floats(b), k, n, b.Stride, Floats(across), k);
            Matrix right = across is null ? b : across;                           // (n, k)
            Gemm.Dot(
                team, m, n, k, Floats(a), a.Stride, Floats(right), right.Stride, Floats(c), c.Stride,
                alpha, bias is null ? null : Floats(bias), beta != 0);
            return;
        }
        if (transposeA && !transposeB && bias is null)
        {
            if (Gemm.IsNarrow(m, k))
            {
                Gemm.Outer(team, m, n, k, Floats(a), a.Stride, Floats(b), b.Stride, Floats(c), c.Stride, alpha, beta != 0);
                return;
            }
            if (Gemm.IsNarrow(n, k))
            {
                using Tensor across = Empty([n, m]);                              // Cᵀ = Bᵀ · A
                Gemm.Outer(team, n, m, k, Floats(b), b.Stride, Floats(a), a.Stride, Floats(across), m, alpha);
                Gemm.Transpose(Floats(across), n, m, m, Floats(c), c.Stride, beta != 0);
                return;
            }
        }
        // Few rows by many columns: B, by far the larger operand, would be packed to be read once. Cᵀ = Bᵀ · A packs A, and reads B as
        // it lies.
        bool narrows = m > NarrowRows / 2 && m <= NarrowRows && n > 2 * Gemm.PanelWidth && k > m;
        if (narrows && transposeA && !transposeB && bias is null && !rounds)
        {
            using Tensor transposed = Empty([n, m]), narrow = PackOperand(Floats(a), a.Stride, 1, k, m, false);
            Gemm.Multiply(team, n, m, k, new(Floats(b), 1, b.Stride), PanelsOf(narrow), Floats(transposed), m, alpha);
            Gemm.Transpose(Floats(transposed), n, m, m, Floats(c), c.Stride, beta != 0);
            return;
        }
        (nint row, nint column) = transposeB ? ((nint)1, (nint)b.Stride) : (b.Stride, 1);
        using Tensor packed = PackOperand(Floats(b), row, column, k, n, rounds);
        Operand left = transposeA ? new(Floats(a), 1, a.Stride) : new(Floats(a), a.Stride, 1);
        Gemm.Multiply(team, m, n, k, left, PanelsOf(packed), Floats(c), c.Stride, alpha,
            bias is null ? null : Floats(bias), beta != 0);
    }

    private protected override void MatMulCore(
        Tensor x, FrozenMatrix w, Tensor? bias, Tensor y, float beta, Tensor? residual, Tensor? activated)
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

    // B (k × n) in panels, in memory of the pool: float32, or pairs of bfloat16 in words.
    private Tensor PackOperand(float* from, nint row, nint column, int k, int n, bool rounds)
    {
        if (rounds)
        {
            Tensor pairs = Empty([Gemm.Panels(n), Gemm.PairsOf(k), Gemm.PanelWidth], DType.Int32);
            Gemm.PackPairs(team, from, row, column, k, n, (uint*)Ints(pairs));
            return pairs;
        }
        Tensor packed = Empty([Gemm.Panels(n), k, Gemm.PanelWidth]);
        Gemm.Pack(team, from, row, column, k, n, Floats(packed));
        return packed;
    }

    private static Panels PanelsOf(Tensor packed) => packed.DType == DType.Int32 ? (uint*)Ints(packed) : Floats(packed);

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

    /// <summary>W (in, out) as the right operand of x·W, and of dy·Wᵀ.</summary>
    /// <param name="weight">W.</param>
    /// <param name="rounding">
    /// Where products round their operands to bfloat16: W, and for gradients Wᵀ, are packed for that when they are first asked for.
    /// Codes of 8 and 4 bits stay what they are, and are rounded panel by panel in the cache.
    /// </param>
    internal sealed class PackedMatrix(PackedWeight weight, CpuDevice? rounding = null)
        : FrozenMatrix(weight.Rows, weight.Columns, weight.Format)
    {
        private Tensor? pairs, across;

        public PackedWeight Weight => weight;

        public Panels Forward => rounding is null ? weight.Forward
            : HasCodes ? weight.Forward.Rounded
            : PanelsOf(pairs ??= Pairs(rounding, transposed: false));

        public Panels Backward => rounding is null ? weight.Backward
            : HasCodes ? weight.Backward.Rounded
            : PanelsOf(across ??= Pairs(rounding, transposed: true));

        public override long Bytes => weight.Bytes + (pairs?.Bytes ?? 0) + (across?.Bytes ?? 0);

        private bool HasCodes => weight.Format is not (WeightFormat.Float32 or WeightFormat.BFloat16);

        public override void Dispose()
        {
            weight.Dispose();
            pairs?.Dispose();
            across?.Dispose();
        }

        // A panel at a time is float32, in the cache.
        private Tensor Pairs(CpuDevice device, bool transposed)
        {
            (int steps, int columns) = transposed ? (Columns, Rows) : (Rows, Columns);
            int width = Gemm.PanelWidth;
            Tensor packed = device.Empty([Gemm.Panels(columns), Gemm.PairsOf(steps), width], DType.Int32);
            uint* to = (uint*)Ints(packed);
            device.Team.For(Gemm.Panels(columns), 1, (first, last) =>
            {
                float* wide = Scratch.Floats((long)steps * width);
                for (int panel = first; panel < last; panel++)
                {
                    if (transposed) weight.MakeTransposed(panel, 0, steps, wide);
                    else weight.Make(panel, 0, steps, wide);
                    Gemm.PackPairs(wide, steps, to + (long)panel * Gemm.PairsOf(steps) * width);
                }
            });
            return packed;
        }
    }
}
