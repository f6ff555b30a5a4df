namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// Rotary position embedding (Su et al. 2021), half-split as in Hugging Face: y = x with every head of queries and of keys turned
    /// by its row's position. With c and s, cosine and sine of the pair's angle, y[j] = c · x[j] − s · x[j + D/2] and
    /// y[j + D/2] = c · x[j + D/2] + s · x[j] for j below D/2. Values stay as they are. x, y: (N, (H + 2G) · D); positions: (N) int32;
    /// angles: (256 + R, D) from <see cref="RotaryFrequencies.Angles"/>, for positions below 256 · R. y may be x.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    /// <exception cref="ArgumentOutOfRangeException">
    /// A position is negative or beyond the table; on a GPU thrown by the next download.
    /// </exception>
    public void Rotary(Matrix x, Tensor positions, Tensor angles, AttentionLayout layout, Matrix y)
    {
        CheckRotary(nameof(Rotary), x, positions, angles, layout, y);
        RotaryCore(x, positions, angles, layout, y, 1);
    }

    /// <summary>
    /// The gradient of <see cref="Rotary"/>: dx = dy turned back by the same angles, dx[j] = c · dy[j] + s · dy[j + D/2] and
    /// dx[j + D/2] = c · dy[j + D/2] − s · dy[j]. Shapes as there. dx may be dy.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void RotaryGrad(Matrix dy, Tensor positions, Tensor angles, AttentionLayout layout, Matrix dx)
    {
        CheckRotary(nameof(RotaryGrad), dy, positions, angles, layout, dx);
        RotaryCore(dy, positions, angles, layout, dx, -1);
    }

    // Sines count direction times, which is 1 or −1.
    private protected abstract void RotaryCore(
        Matrix x, Tensor positions, Tensor angles, AttentionLayout layout, Matrix y, float direction);

    private static void CheckRotary(string call, Matrix x, Tensor positions, Tensor angles, AttentionLayout layout, Matrix y)
    {
        bool rows = x.Rows == y.Rows && x.Rows == positions.Length && x.Columns == layout.Width && y.Columns == layout.Width;
        bool table = angles.Shape.Columns == layout.HeadSize && layout.HeadSize % 2 == 0 && angles.Shape.Rows >= RotaryFrequencies.Step;
        if (rows && table) return;
        throw new ShapeException(
            $"{call}: rows {x} and {y}, positions {positions.Shape}, angles {angles.Shape}, for {layout.Heads} query heads and "
            + $"{layout.KeyValueHeads} key and value heads of {layout.HeadSize}; "
            + "expected (N, (H + 2G) · D) twice, (N) and (256 + R, D), D even.");
    }
}
