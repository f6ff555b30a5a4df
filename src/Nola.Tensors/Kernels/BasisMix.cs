namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// w[l] = scale · Σᵢ coefficients[l, i] · Bᵢ + beta · w[l] for all l at once, over the basis's k matrices, which are
    /// generated tile by tile and never stored. coefficients: (L, k); w: (L, …) with rows · cols elements for each l.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void BasisMix(RandomBasis basis, Tensor coefficients, Tensor w, float scale = 1, float beta = 0)
    {
        CheckMix(nameof(BasisMix), basis, coefficients, w, beta);
        BasisMixCore(basis, coefficients, w, 0, coefficients.Shape[0], scale, beta);
    }

    /// <summary>dcoefficients[l, i] = scale · ⟨dw[l], Bᵢ⟩ + beta · dcoefficients[l, i]; the basis is generated again.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void BasisMixGrad(RandomBasis basis, Tensor dw, Tensor dcoefficients, float scale = 1, float beta = 0)
    {
        CheckMix(nameof(BasisMixGrad), basis, dcoefficients, dw, beta);
        BasisMixGradCore(basis, dw, dcoefficients, 0, dcoefficients.Shape[0], scale, beta);
    }

    /// <summary>
    /// As <see cref="BasisMix"/>, with a basis of its own for each row: row l uses Layer = layers[l] + 1. Neighboring rows of one layer
    /// share what is generated.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void BasisMixPerLayer(
        RandomBasis basis, ReadOnlySpan<int> layers, Tensor coefficients, Tensor w, float scale = 1, float beta = 0)
    {
        CheckMix(nameof(BasisMixPerLayer), basis, coefficients, w, beta);
        CheckLayers(nameof(BasisMixPerLayer), layers, coefficients);
        foreach ((int first, int end) in Runs(layers.ToArray()))
            BasisMixCore(basis with { Layer = (uint)layers[first] + 1 }, coefficients, w, first, end - first, scale, beta);
    }

    /// <summary>The gradient of <see cref="BasisMixPerLayer"/>.</summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void BasisMixPerLayerGrad(
        RandomBasis basis, ReadOnlySpan<int> layers, Tensor dw, Tensor dcoefficients, float scale = 1, float beta = 0)
    {
        CheckMix(nameof(BasisMixPerLayerGrad), basis, dcoefficients, dw, beta);
        CheckLayers(nameof(BasisMixPerLayerGrad), layers, dcoefficients);
        foreach ((int first, int end) in Runs(layers.ToArray()))
            BasisMixGradCore(basis with { Layer = (uint)layers[first] + 1 }, dw, dcoefficients, first, end - first, scale, beta);
    }

    private protected abstract void BasisMixCore(
        RandomBasis basis, Tensor coefficients, Tensor w, int row, int rows, float scale, float beta);

    private protected abstract void BasisMixGradCore(
        RandomBasis basis, Tensor dw, Tensor dcoefficients, int row, int rows, float scale, float beta);

    // Neighbors of one layer.
    private static IEnumerable<(int First, int End)> Runs(int[] layers)
    {
        for (int first = 0, end; first < layers.Length; first = end)
        {
            for (end = first + 1; end < layers.Length && layers[end] == layers[first];) end++;
            yield return (first, end);
        }
    }

    private static void CheckMix(string call, RandomBasis basis, Tensor coefficients, Tensor w, float beta)
    {
        if (basis.Count < 1 || basis.Size < 1 || coefficients.Shape.Rank != 2
            || coefficients.Shape[1] != basis.Count || w.Length != (long)coefficients.Shape[0] * basis.Size)
            throw new ShapeException($"{call}: coefficients {coefficients.Shape}, w {w.Shape} and a basis of {basis.Count} matrices "
                + $"({basis.Rows}, {basis.Cols}); expected (L, k) and L · rows · cols elements.");
        CheckBeta(call, beta);
    }

    private static void CheckLayers(string call, ReadOnlySpan<int> layers, Tensor coefficients)
    {
        if (layers.Length != coefficients.Shape[0])
            throw new ShapeException($"{call}: {layers.Length} layers for coefficients {coefficients.Shape}; "
                + $"expected one for each of the {coefficients.Shape[0]} rows.");
    }
}
