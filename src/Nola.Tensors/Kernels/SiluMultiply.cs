namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// y = silu(a) · b, element by element, with silu(a) = a / (1 + e⁻ᵃ): the gated unit SwiGLU (Shazeer 2020), of which a is the
    /// gate. a, b, y: (N, I); a and b may be the halves of one product's rows. y may be a or b.
    /// </summary>
    /// <exception cref="ShapeException">The sizes differ.</exception>
    public void SiluMultiply(Matrix a, Matrix b, Matrix y)
    {
        CheckSameSize(nameof(SiluMultiply), a, b, y);
        SiluMultiplyCore(a, b, y);
    }

    /// <summary>
    /// With s = 1 / (1 + e⁻ᵃ): da = dy · b · s · (1 + a · (1 − s)) + beta · da and db = dy · a · s + beta · db. All (N, I).
    /// With beta 0, da may be a and db may be b.
    /// </summary>
    /// <exception cref="ShapeException">The sizes differ.</exception>
    public void SiluMultiplyGrad(Matrix a, Matrix b, Matrix dy, Matrix da, Matrix db, float beta = 0)
    {
        CheckSameSize(nameof(SiluMultiplyGrad), a, b, dy);
        CheckSameSize(nameof(SiluMultiplyGrad), a, da, db);
        CheckBeta(nameof(SiluMultiplyGrad), beta);
        SiluMultiplyGradCore(a, b, dy, da, db, beta);
    }

    private protected abstract void SiluMultiplyCore(Matrix a, Matrix b, Matrix y);

    private protected abstract void SiluMultiplyGradCore(Matrix a, Matrix b, Matrix dy, Matrix da, Matrix db, float beta);
}
