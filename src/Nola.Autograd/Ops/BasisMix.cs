using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// w[l] = scale · Σᵢ α[l, i] · Bᵢ + offset[l], all layers at once (Koohpayegani et al. 2024, equation 2). α: (L, k);
    /// w, offset: (L, rows, cols). dα[l, i] = scale · ⟨dw[l], Bᵢ⟩; the basis is generated again, never stored.
    /// </summary>
    /// <param name="coefficients">α.</param>
    /// <param name="basis">The k matrices.</param>
    /// <param name="scale">c_k.</param>
    /// <param name="offset">A constant that is added, or null.</param>
    /// <param name="layers">For a basis of its own in each layer, the number of each row's layer.</param>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable BasisMix(Variable coefficients, RandomBasis basis, float scale, Tensor? offset = null, int[]? layers = null)
    {
        Tape tape = coefficients.Tape;
        Device device = tape.Device;
        Variable w = tape.New([coefficients.Shape[0], basis.Rows, basis.Cols]);
        if (offset is not null) device.Axpby(1, offset, 0, w.Value);
        float keep = offset is null ? 0 : 1;
        if (layers is null) device.BasisMix(basis, coefficients.Value, w.Value, scale, keep);
        else device.BasisMixPerLayer(basis, layers, coefficients.Value, w.Value, scale, keep);
        return tape.Record(w, [coefficients], [], [], dw =>
        {
            if (!coefficients.TakesGradient(out Tensor dc, out float beta)) return;
            if (layers is null) device.BasisMixGrad(basis, dw, dc, scale, beta);
            else device.BasisMixPerLayerGrad(basis, layers, dw, dc, scale, beta);
        });
    }
}
