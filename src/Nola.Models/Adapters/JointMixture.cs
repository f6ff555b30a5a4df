using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Mixtures of the same random matrices for many adapters, in one product: the matrices are generated once for all. What an adapter
/// gets is, to the bit, what it gets alone, since every row of the product is a sum of its own. In the product, rows are ordered by
/// layer and then by adapter, so that those of one layer are neighbors and share its matrices even where each layer has its own.
/// </summary>
/// <param name="basis">The matrices.</param>
/// <param name="layers">Numbers of the adapted layers, where each has matrices of its own; null where all share them.</param>
/// <param name="scale">Of the sums.</param>
internal readonly struct JointMixture(RandomBasis basis, int[]? layers, float scale)
{
    /// <summary>factor[l] = offset[l] + scale · Σᵢ coefficients[l, i] · Bᵢ, for each adapter.</summary>
    /// <param name="offset">The same for all, or null. (L, rows, cols)</param>
    /// <param name="coefficients">Of each adapter. (L, k)</param>
    /// <param name="factors">Of each adapter, overwritten. (L, rows, cols)</param>
    public void Mix(Tensor? offset, IReadOnlyList<Tensor> coefficients, IReadOnlyList<Tensor> factors)
    {
        Device device = factors[0].Device;
        float keep = offset is null ? 0 : 1;
        if (factors.Count == 1)
        {
            if (offset is not null) device.Axpby(1, offset, 0, factors[0]);
            Product(device, coefficients[0], factors[0], keep, 1);
            return;
        }
        int many = factors.Count, rows = factors[0].Shape[0] * many;
        using Tensor left = device.Empty([rows, basis.Count]), all = device.Empty([rows, basis.Size]);
        for (int i = 0; i < many; i++)
        {
            device.CopyColumns(Own(coefficients[i], basis.Count), Among(left, i, many));
            if (offset is not null) device.CopyColumns(Own(offset, basis.Size), Among(all, i, many));
        }
        Product(device, left, all, keep, many);
        for (int i = 0; i < many; i++) device.CopyColumns(Among(all, i, many), Own(factors[i], basis.Size));
    }

    /// <summary>dcoefficients[l, i] = scale · ⟨dfactor[l], Bᵢ⟩, for each adapter.</summary>
    /// <param name="dfactors">Of each adapter. (L, rows, cols)</param>
    /// <param name="dcoefficients">Of each adapter, overwritten. (L, k)</param>
    public void Gradients(IReadOnlyList<Tensor> dfactors, IReadOnlyList<Tensor> dcoefficients)
    {
        Device device = dfactors[0].Device;
        if (dfactors.Count == 1)
        {
            ProductGrad(device, dfactors[0], dcoefficients[0], 1);
            return;
        }
        int many = dfactors.Count, rows = dfactors[0].Shape[0] * many;
        using Tensor left = device.Empty([rows, basis.Count]), all = device.Empty([rows, basis.Size]);
        for (int i = 0; i < many; i++) device.CopyColumns(Own(dfactors[i], basis.Size), Among(all, i, many));
        ProductGrad(device, all, left, many);
        for (int i = 0; i < many; i++) device.CopyColumns(Among(left, i, many), Own(dcoefficients[i], basis.Count));
    }

    private void Product(Device device, Tensor coefficients, Tensor w, float keep, int many)
    {
        if (layers is null) device.BasisMix(basis, coefficients, w, scale, keep);
        else device.BasisMixPerLayer(basis, Repeated(many), coefficients, w, scale, keep);
    }

    private void ProductGrad(Device device, Tensor dw, Tensor dcoefficients, int many)
    {
        if (layers is null) device.BasisMixGrad(basis, dw, dcoefficients, scale);
        else device.BasisMixPerLayerGrad(basis, Repeated(many), dw, dcoefficients, scale);
    }

    private int[] Repeated(int many) => [.. layers!.SelectMany(layer => Enumerable.Repeat(layer, many))];

    // (L, columns), whatever the tensor's shape.
    private static Matrix Own(Tensor tensor, int columns) => new(tensor, tensor.Length / columns, columns, 0, columns);

    // The rows of one adapter among those of many.
    private static Matrix Among(Tensor all, int adapter, int many)
    {
        int columns = all.Shape.Columns;
        return new(all, all.Shape.Rows / many, columns, adapter * columns, many * columns);
    }
}
