using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override FrozenMatrix FreezeCore(Matrix weight, bool transposed, WeightFormat format)
    {
        Tensor copy = Empty([weight.Rows, weight.Columns], format.ElementType());
        Strided source = new() { Count = weight.Rows, Length = weight.Columns, Row = weight.Stride, Element = 1 };
        Blocks blocks = new(Blocks.For(weight.Rows, 8));
        if (format == WeightFormat.Float32) Launch(CopyKernels.Copy, blocks, Floats(weight.Tensor), Floats(copy), source, weight.Offset);
        else Launch(CopyKernels.Narrow, blocks, Floats(weight.Tensor), Halves(copy), source, weight.Offset);
        return new GpuFrozenMatrix(this, copy, transposed);
    }

    /// <inheritdoc/>
    public override void Unpack(FrozenMatrix w, Tensor weight, bool transposed = false)
    {
        (int rows, int columns) = transposed ? (w.Columns, w.Rows) : (w.Rows, w.Columns);
        if (weight.Shape.Rows != rows || weight.Shape.Columns != columns)
            throw new ShapeException($"Unpack: the frozen matrix needs ({rows}, {columns}) and the tensor is {weight.Shape}.");
        GpuFrozenMatrix stored = (GpuFrozenMatrix)w;
        using Tensor? expanded = w.Format.IsQuantized() ? Expanded(stored) : null;
        bool same = stored.Transposed == transposed;
        Strided source = new() { Count = rows, Length = columns, Row = same ? columns : 1, Element = same ? 1 : rows };
        Blocks blocks = new(Blocks.For(rows, 8));
        if (w.Format != WeightFormat.BFloat16)
            Launch(CopyKernels.Copy, blocks, Floats(expanded ?? stored.Weight), Floats(weight), source, 0);
        else Launch(CopyKernels.Widen, blocks, Halves(stored.Weight), Floats(weight), source, 0);
    }

    private protected override void MatMulCore(
        Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, float alpha, float beta, Tensor? bias) =>
        Product(a, transposeA, b, transposeB, c, alpha, beta, new(bias));

    private protected override void MatMulCore(
        Tensor x, FrozenMatrix w, Tensor? bias, Tensor y, float beta, Tensor? residual, Tensor? activated) =>
        Product(x, (GpuFrozenMatrix)w, false, y, beta, new(bias, residual, activated));

    private protected override void MatMulTransposedCore(Tensor dy, FrozenMatrix w, Tensor dx, float beta, Tensor? preactivation)
    {
        GpuFrozenMatrix frozen = (GpuFrozenMatrix)w;
        if (preactivation is not null && products == Products.BFloat16 && OnTensorCores(dx.Shape.Rows, w.Rows, w.Columns))
        {
            // dy is copied anyway, and multiplied on the way.
            using Tensor? expanded = w.Format.IsQuantized() ? Expanded(frozen) : null;
            GpuFrozenMatrix? kept = expanded is null ? frozen : null;
            TensorProduct(dy, false, expanded ?? frozen.Weight, !frozen.Transposed, dx, 1, beta, default, kept, preactivation);
            return;
        }
        if (preactivation is not null) GeluGradCore(preactivation, dy, preactivation, 0);
        Product(preactivation ?? dy, frozen, true, dx, beta);
    }

    // y = x · W, or x · Wᵀ, from the one form in which W is stored; what is stored in codes is expanded for this product.
    private void Product(Matrix x, GpuFrozenMatrix w, bool transposed, Matrix y, float beta, After after = default)
    {
        if (y.Rows == 0) return;
        using Tensor? expanded = w.Format.IsQuantized() ? Expanded(w) : null;
        Product(x, false, expanded ?? w.Weight, transposed != w.Transposed, y, 1, beta, after, expanded is null ? w : null);
    }

    private void Product(
        Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, float alpha, float beta, After after = default,
        GpuFrozenMatrix? frozen = null)
    {
        int m = c.Rows, n = c.Columns, k = transposeA ? a.Rows : a.Columns;
        if (m == 0 || n == 0) return;
        if (OnTensorCores(m, n, k))
        {
            TensorProduct(a, transposeA, b, transposeB, c, alpha, beta, after, frozen);
            return;
        }
        if (IsFewRows(a, transposeA, b, transposeB, k))
        {
            RowsProduct(a, b, transposeB, c, alpha, beta, after);
            return;
        }
        // Adapters' products have a side of r: a tile of 16 there wastes little.
        (int tileRows, int tileColumns) = n <= 16 ? (256, 16) : m <= 16 ? (16, 256) : (64, 64);
        int down = Blocks.For(m, tileRows), across = Blocks.For(n, tileColumns), parts = PartsOf(down * across, k, 256);
        ProductShape shape = new()
        {
            K = k,
            A = Place.Of(a),
            B = Place.Of(b),
            TransposeA = transposeA ? 1 : 0,
            TransposeB = transposeB ? 1 : 0,
            Depth = (Blocks.For(k, parts) + ProductKernels.Step - 1) / ProductKernels.Step * ProductKernels.Step,
            End = after.On(c, alpha, beta),
        };
        Blocks blocks = new(across, down, parts);
        if (parts == 1)
        {
            Multiply(tileRows, blocks, a.Tensor, b.Tensor, c.Tensor, after, shape);
            return;
        }
        using Tensor partial = Empty([parts, m, n]);
        shape.End = SumsAlone(partial, c);
        Multiply(tileRows, blocks, a.Tensor, b.Tensor, partial, default, shape);
        SumParts(partial, c, alpha, beta, after);
    }

    private void Multiply(int tileRows, Blocks blocks, Tensor a, Tensor b, Tensor c, After after, ProductShape shape)
    {
        ArrayView<float> y = Floats(c), bias = Floats(after.Bias ?? c);
        ArrayView<float> residual = Floats(after.Residual ?? c), activated = Floats(after.Activated ?? c);
        if (b.DType == DType.BFloat16)
        {
            Action<ArrayView<float>, ArrayView<ushort>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>,
                ProductShape> narrow =
                tileRows == 256 ? ProductKernels.TallNarrow : tileRows == 16 ? ProductKernels.FlatNarrow : ProductKernels.SquareNarrow;
            Launch(narrow, blocks, Floats(a), Halves(b), y, bias, residual, activated, shape);
            return;
        }
        Action<ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>, ArrayView<float>,
            ProductShape> wide =
            tileRows == 256 ? ProductKernels.Tall : tileRows == 16 ? ProductKernels.Flat : ProductKernels.Square;
        Launch(wide, blocks, Floats(a), Floats(b), y, bias, residual, activated, shape);
    }

    // Parts of the inner dimension when the tiles of the result alone would not fill a card. Never more than one for each
    // 128 steps, and a function of the shape alone, so that results do not depend on the card.
    private static int PartsOf(int tiles, int k, int blocks) => Math.Clamp(Math.Min(blocks / tiles, k / 128), 1, 64);

    /// <summary>A base weight as it was given, (in, out) or (out, in); both of its products read that one form.</summary>
    internal sealed class GpuFrozenMatrix : FrozenMatrix
    {
        private readonly GpuDevice device;
        private TensorOperand? operand;

        /// <summary>A weight in floats.</summary>
        public GpuFrozenMatrix(GpuDevice device, Tensor weight, bool transposed)
            : base(weight.Shape[transposed ? 1 : 0], weight.Shape[transposed ? 0 : 1], WeightFormats.Of(weight.DType)) =>
            (this.device, Weight, Transposed) = (device, weight, transposed);

        /// <summary>A weight in codes, (out, in).</summary>
        public GpuFrozenMatrix(GpuDevice device, Tensor codes, Tensor scales, CodeShape shape, WeightFormat format)
            : base(shape.Columns, shape.Rows, format) =>
            (this.device, Weight, Transposed, Scales, Shape) = (device, codes, true, scales, shape);

        /// <summary>The elements, or words of codes.</summary>
        public Tensor Weight { get; }

        /// <summary>What codes are multiplied with.</summary>
        public Tensor? Scales { get; }

        /// <summary>How codes lie.</summary>
        public CodeShape Shape { get; }

        /// <summary>Whether <see cref="Weight"/> holds Wᵀ.</summary>
        public bool Transposed { get; }

        /// <summary>The weight for tensor cores: itself when it lies as they read it, else a copy, made when first asked for.</summary>
        public TensorOperand OnTensorCores => operand ??= device.Operand(Weight, TensorTile.Widest, TensorTile.Widest);

        public override long Bytes => Weight.Bytes + (Scales?.Bytes ?? 0) + (operand?.Copy?.Bytes ?? 0);

        public override void Dispose()
        {
            Weight.Dispose();
            Scales?.Dispose();
            operand?.Dispose();
        }
    }
}

/// <summary>Copies between row-major matrices, one warp a row, with a change of element type or order.</summary>
internal static class CopyKernels
{
    [Kernel(256)]
    public static void Copy(ArrayView<float> from, ArrayView<float> to, Strided source, int offset) =>
        Rows<float, WideElement>(from, to, source, offset);

    [Kernel(256)]
    public static void Widen(ArrayView<ushort> from, ArrayView<float> to, Strided source, int offset) =>
        Rows<ushort, NarrowElement>(from, to, source, offset);

    /// <summary>Rounds to bfloat16: to nearest, ties to even; a NaN stays one.</summary>
    [Kernel(256)]
    public static void Narrow(ArrayView<float> from, ArrayView<ushort> to, Strided source, int offset)
    {
        int lane = Group.IdxX & 31, row = Grid.IdxX * 8 + Group.IdxX / 32;
        if (row >= source.Count) return;
        for (int j = lane; j < source.Length; j += 32)
            to[(long)row * source.Length + j] = Round(from[offset + (long)row * source.Row + (long)j * source.Element]);
    }

    private static void Rows<T, TElement>(ArrayView<T> from, ArrayView<float> to, Strided source, int offset)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        int lane = Group.IdxX & 31, row = Grid.IdxX * 8 + Group.IdxX / 32;
        if (row >= source.Count) return;
        for (int j = lane; j < source.Length; j += 32)
            to[(long)row * source.Length + j] = TElement.Value(from[offset + (long)row * source.Row + (long)j * source.Element]);
    }

    private static ushort Round(float x)
    {
        uint bits = Interop.FloatAsInt(x);
        if ((bits & 0x7FFFFFFF) > 0x7F800000) return (ushort)((bits >> 16) | 0x40);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }
}
