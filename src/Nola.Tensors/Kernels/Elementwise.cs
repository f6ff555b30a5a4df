namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>x = value everywhere.</summary>
    public abstract void Fill(Tensor x, float value);

    /// <summary>y = alpha · x + beta · y. With beta 0, y may hold anything.</summary>
    /// <exception cref="ShapeException">The lengths differ.</exception>
    public void Axpby(float alpha, Tensor x, float beta, Tensor y)
    {
        CheckSame(nameof(Axpby), x, y);
        AxpbyCore(alpha, x, beta, y);
    }

    /// <summary>y = alpha[0] · x + beta · y: as above, with a factor that is on the device and is not waited for.</summary>
    /// <exception cref="ShapeException">The lengths differ, or alpha has more than one element.</exception>
    public void Axpby(Tensor alpha, Tensor x, float beta, Tensor y)
    {
        if (alpha.Length != 1) throw new ShapeException($"Axpby: alpha is {alpha.Shape}; expected one element.");
        CheckSame(nameof(Axpby), x, y);
        AxpbyCore(alpha, x, beta, y);
    }

    /// <summary>y = a + b.</summary>
    /// <exception cref="ShapeException">The lengths differ.</exception>
    public void Add(Tensor a, Tensor b, Tensor y)
    {
        CheckSame(nameof(Add), a, b);
        CheckSame(nameof(Add), a, y);
        AddCore(a, b, y);
    }

    /// <summary>y = a · b + beta · y, element by element.</summary>
    /// <exception cref="ShapeException">The lengths differ.</exception>
    public void Multiply(Tensor a, Tensor b, Tensor y, float beta = 0)
    {
        CheckSame(nameof(Multiply), a, b);
        CheckSame(nameof(Multiply), a, y);
        CheckBeta(nameof(Multiply), beta);
        MultiplyCore(a, b, y, beta);
    }

    /// <summary>
    /// y = gelu(x), the tanh form that GPT-2 uses (Hendrycks and Gimpel 2016):
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).
    /// </summary>
    /// <exception cref="ShapeException">The lengths differ.</exception>
    public void Gelu(Tensor x, Tensor y)
    {
        CheckSame(nameof(Gelu), x, y);
        GeluCore(x, y);
    }

    /// <summary>dx = dy · gelu′(x) + beta · dx.</summary>
    /// <exception cref="ShapeException">The lengths differ.</exception>
    public void GeluGrad(Tensor x, Tensor dy, Tensor dx, float beta = 0)
    {
        CheckSame(nameof(GeluGrad), x, dy);
        CheckSame(nameof(GeluGrad), x, dx);
        CheckBeta(nameof(GeluGrad), beta);
        GeluGradCore(x, dy, dx, beta);
    }

    /// <summary>
    /// y = gelu(x), the form by the error function that vision transformers use (Hendrycks and Gimpel 2016):
    /// x/2 · (1 + erf(x/√2)).
    /// </summary>
    /// <exception cref="ShapeException">The lengths differ.</exception>
    public void GeluErf(Tensor x, Tensor y)
    {
        CheckSame(nameof(GeluErf), x, y);
        GeluErfCore(x, y);
    }

    /// <summary>dx = dy · gelu′(x) + beta · dx, of the form by the error function.</summary>
    /// <exception cref="ShapeException">The lengths differ.</exception>
    public void GeluErfGrad(Tensor x, Tensor dy, Tensor dx, float beta = 0)
    {
        CheckSame(nameof(GeluErfGrad), x, dy);
        CheckSame(nameof(GeluErfGrad), x, dx);
        CheckBeta(nameof(GeluErfGrad), beta);
        GeluErfGradCore(x, dy, dx, beta);
    }

    private protected abstract void AxpbyCore(float alpha, Tensor x, float beta, Tensor y);

    private protected abstract void AxpbyCore(Tensor alpha, Tensor x, float beta, Tensor y);

    private protected abstract void AddCore(Tensor a, Tensor b, Tensor y);

    private protected abstract void MultiplyCore(Tensor a, Tensor b, Tensor y, float beta);

    private protected abstract void GeluCore(Tensor x, Tensor y);

    private protected abstract void GeluGradCore(Tensor x, Tensor dy, Tensor dx, float beta);

    private protected abstract void GeluErfCore(Tensor x, Tensor y);

    private protected abstract void GeluErfGradCore(Tensor x, Tensor dy, Tensor dx, float beta);

    private protected static void CheckSame(string call, Tensor a, Tensor b)
    {
        if (a.Length != b.Length)
            throw new ShapeException($"{call}: tensors of shape {a.Shape} and {b.Shape}; expected as many elements in both.");
    }
}
