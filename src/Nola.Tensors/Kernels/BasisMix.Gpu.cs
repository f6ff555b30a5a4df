using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private Tensor? normalTable;

    private protected override void BasisMixCore(
        RandomBasis basis, Tensor coefficients, Tensor w, int row, int rows, float scale, float beta)
    {
        int k = basis.Count, size = basis.Size, parts = Blocks.For(k, BasisKernels.MatricesOfPart);
        using Tensor partial = Empty([parts, rows, size]);
        Action<ArrayView<float>, ArrayView<float>, ArrayView<float>, BasisNumbers> mix = basis.Entries switch
        {
            BasisEntries.Uniform => BasisKernels.MixUniform,
            BasisEntries.Normal => BasisKernels.MixNormal,
            _ => BasisKernels.MixSign,
        };
        Blocks blocks = new(Blocks.For(size, BasisKernels.Across), Blocks.For(rows, BasisKernels.Layers), parts);
        Launch(mix, blocks, Floats(coefficients), Floats(partial), Floats(Table(basis, coefficients)), Numbers(basis, rows, row * k));
        SumParts(partial, new Matrix(w, rows, size, row * size, size), scale, beta);
    }

    private protected override void BasisMixGradCore(
        RandomBasis basis, Tensor dw, Tensor dcoefficients, int row, int rows, float scale, float beta)
    {
        int k = basis.Count, size = basis.Size, parts = Blocks.For(size, BasisKernels.EntriesOfPart);
        using Tensor partial = Empty([parts, rows, k]);
        Action<ArrayView<float>, ArrayView<float>, ArrayView<float>, BasisNumbers> grad = basis.Entries switch
        {
            BasisEntries.Uniform => BasisKernels.GradUniform,
            BasisEntries.Normal => BasisKernels.GradNormal,
            _ => BasisKernels.GradSign,
        };
        Blocks blocks = new(Blocks.For(k, BasisKernels.Matrices), Blocks.For(rows, BasisKernels.Layers), parts);
        Launch(grad, blocks, Floats(dw), Floats(partial), Floats(Table(basis, dw)), Numbers(basis, rows, row * size));
        SumParts(partial, new Matrix(dcoefficients, rows, k, row * k, k), scale, beta);
    }

    private static BasisNumbers Numbers(in RandomBasis basis, int rows, int offset) => new()
    {
        KeyLow = (uint)basis.Seed,
        KeyHigh = (uint)(basis.Seed >> 32),
        Stream = basis.Stream,
        Layer = basis.Layer,
        Count = basis.Count,
        Size = basis.Size,
        Rows = rows,
        Offset = offset,
    };

    // The table of normal values; entries of other kinds read none, and get what is at hand.
    private Tensor Table(in RandomBasis basis, Tensor other) =>
        basis.Entries == BasisEntries.Normal ? normalTable ??= From(NormalTable.Values, [NormalTable.Values.Length]) : other;
}

/// <summary>A basis, and which rows of the left operand meet it: those from element Offset on.</summary>
internal struct BasisNumbers
{
    public uint KeyLow, KeyHigh, Stream, Layer;
    public int Count, Size, Rows, Offset;
}
