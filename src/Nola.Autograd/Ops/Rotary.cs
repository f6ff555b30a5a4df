using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// Rotary position embedding (Su et al. 2021), half-split: qkv with every head of q and of k turned by the angles of its row's
    /// position; v stays as it is. qkv, y: (N, (H + 2G) · D); positions: (N) int32; angles: a table from
    /// <see cref="RotaryFrequencies.Angles"/>. dqkv is dy turned back. Nothing is kept for it but positions and angles.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable Rotary(Variable qkv, Tensor positions, Tensor angles, AttentionLayout layout)
    {
        Tape tape = qkv.Tape;
        Variable y = tape.New(qkv.Shape);
        tape.Device.Rotary(qkv.Value, positions, angles, layout, y.Value);
        return tape.Record(y, [qkv], [], [], dy =>
        {
            tape.Device.RotaryGrad(dy, positions, angles, layout, dy);
            tape.PassGradient(y, qkv);
        });
    }
}
