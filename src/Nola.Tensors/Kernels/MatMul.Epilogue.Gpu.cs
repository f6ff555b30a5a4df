using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    /// <summary>What is added to a product and made of it, while its sums are in registers.</summary>
    /// <param name="Bias">Added to every row. (N)</param>
    /// <param name="Residual">Added to every element, lying as c does.</param>
    /// <param name="Activated">Gets gelu(c), lying as c does.</param>
    private readonly record struct After(Tensor? Bias = null, Tensor? Residual = null, Tensor? Activated = null)
    {
        public Epilogue On(in Matrix c, float alpha, float beta) => new()
        {
            C = Place.Of(c),
            Alpha = alpha,
            Beta = beta,
            HasBias = Bias is null ? 0 : 1,
            HasResidual = Residual is null ? 0 : 1,
            HasActivated = Activated is null ? 0 : 1,
        };
    }

    // Only the sums, one matrix (M, N) after another: a part of the inner dimension each.
    private static Epilogue SumsAlone(Tensor partial, in Matrix c) =>
        default(After).On(new Matrix(partial, c.Rows, c.Columns, 0, c.Columns), 1, 0);
}

/// <summary>
/// The end of a product: c = alpha · sums (+ bias) (+ residual) + beta · c, and activated = gelu(c). Every kernel that
/// writes a product ends with it, so what follows a product costs no pass over memory of its own.
/// </summary>
internal struct Epilogue
{
    public Place C;
    public int HasBias, HasResidual, HasActivated;
    public float Alpha, Beta;

    /// <summary>Element <paramref name="at"/> of c, which is in <paramref name="column"/>.</summary>
    public static void One(
        float sum, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual,
        ArrayView<float> activated, Epilogue e, int at, int column)
    {
        float value = sum * e.Alpha;
        if (e.HasBias != 0) value += bias[column];
        if (e.HasResidual != 0) value += residual[at];
        if (e.Beta != 0) value += c[at];
        c[at] = value;
        if (e.HasActivated != 0) activated[at] = Gelu(value);
    }

    /// <summary>Two neighbors, the first at an even place.</summary>
    public static void Two(
        Float2 sums, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual,
        ArrayView<float> activated, Epilogue e, int at, int column)
    {
        Float2 value = sums * e.Alpha;
        if (e.HasBias != 0) value += bias.Cast<Float2>()[column / 2];
        if (e.HasResidual != 0) value += residual.Cast<Float2>()[at / 2];
        if (e.Beta != 0) value += c.Cast<Float2>()[at / 2];
        c.Cast<Float2>()[at / 2] = value;
        if (e.HasActivated != 0) activated.Cast<Float2>()[at / 2] = Float2.Of(Gelu(value.X), Gelu(value.Y));
    }

    /// <summary>Four neighbors, the first at a multiple of four.</summary>
    public static void Four(
        Float4 sums, ArrayView<float> c, ArrayView<float> bias, ArrayView<float> residual,
        ArrayView<float> activated, Epilogue e, int at, int column)
    {
        Float4 value = sums * e.Alpha;
        if (e.HasBias != 0) value += bias.Cast<Float4>()[column / 4];
        if (e.HasResidual != 0) value += residual.Cast<Float4>()[at / 4];
        if (e.Beta != 0) value += c.Cast<Float4>()[at / 4];
        c.Cast<Float4>()[at / 4] = value;
        if (e.HasActivated != 0) activated.Cast<Float4>()[at / 4] = Float4.Of(Gelu(value.X), Gelu(value.Y), Gelu(value.Z), Gelu(value.W));
    }

    private static float Gelu(float x) => ElementwiseKernels.GeluFormula.Apply(x, 0);
}
