namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    public override FrozenMatrix Freeze(Matrix weight, bool transposed = false)
    {
        (int rows, int columns) = transposed ? (weight.Columns, weight.Rows) : (weight.Rows, weight.Columns);
        PackedMatrix packed = new(this, rows, columns);
        float* w = Floats(weight);
        // Element (i, o) of W; a transposed source swaps the strides.
        (nint row, nint column) = transposed ? ((nint)1, (nint)weight.Stride) : (weight.Stride, 1);
        packed.PackForward(w, row, column);
        packed.PackBackward(w, row, column);
        return packed;
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
                    to[transposed ? (long)o * w.Rows + i : (long)i * w.Columns + o] = packed.ForwardElement(i, o);
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

    private protected override void MatMulCore(Tensor x, FrozenMatrix w, Tensor? bias, Tensor y, float beta)
    {
        float* b = bias is null ? null : Floats(bias);
        Operand left = new(Floats(x), w.Rows, 1);
        Gemm.Multiply(team, x.Shape.Rows, w.Columns, w.Rows, left, ((PackedMatrix)w).Forward, Floats(y), w.Columns, 1, b, beta != 0);
    }

    private protected override void MatMulTransposedCore(Tensor dy, FrozenMatrix w, Tensor dx, float beta)
    {
        Operand left = new(Floats(dy), w.Columns, 1);
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

    /// <summary>
    /// W (in, out) packed twice: <see cref="Forward"/> as the right operand of x·W (panels of out, steps of in) and
    /// <see cref="Backward"/> as that of dy·Wᵀ (panels of in, steps of out).
    /// </summary>
    internal sealed class PackedMatrix : FrozenMatrix
    {
        private readonly CpuDevice device;
        private readonly Tensor forward, backward;

        public PackedMatrix(CpuDevice device, int rows, int columns) : base(rows, columns)
        {
            this.device = device;
            forward = device.Empty([Gemm.Panels(columns), rows, Gemm.PanelWidth]);
            backward = device.Empty([Gemm.Panels(rows), columns, Gemm.PanelWidth]);
        }

        public float* Forward => Floats(forward);

        public float* Backward => Floats(backward);

        public override long Bytes => forward.Bytes + backward.Bytes;

        public void PackForward(float* w, nint row, nint column) => Gemm.Pack(device.team, w, row, column, Rows, Columns, Forward);

        public void PackBackward(float* w, nint row, nint column) => Gemm.Pack(device.team, w, column, row, Columns, Rows, Backward);

        public float ForwardElement(int i, int o)
        {
            int width = Gemm.PanelWidth;
            return Forward[((long)(o / width) * Rows + i) * width + o % width];
        }

        public override void Dispose()
        {
            forward.Dispose();
            backward.Dispose();
        }
    }
}
