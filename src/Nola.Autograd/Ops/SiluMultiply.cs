using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = silu(gate) · up of rows gate | up, with silu(a) = a · s(a) and s(a) = 1 / (1 + e⁻ᵃ): the gated unit SwiGLU (Shazeer 2020)
    /// after one product that makes both halves. gateUp: (…, 2I); y: (…, I).
    /// dgate = dy · up · s · (1 + gate · (1 − s)); dup = dy · gate · s.
    /// </summary>
    /// <exception cref="ShapeException">The number of columns is odd.</exception>
    public static Variable SiluMultiply(Variable gateUp)
    {
        if (gateUp.Shape.Columns % 2 != 0) throw new ShapeException($"SiluMultiply: gateUp is {gateUp.Shape}; expected (…, 2I).");
        Tape tape = gateUp.Tape;
        int half = gateUp.Shape.Columns / 2;
        Variable y = tape.New(WithColumns(gateUp.Shape, half));
        Forward(y.Value);
        return tape.Record(y, [gateUp], [gateUp], [], dy =>
        {
            if (gateUp.TakesGradient(out Tensor gradient, out float beta))
                tape.Device.SiluMultiplyGrad(Gate(gateUp.Value), Up(gateUp.Value), dy, Gate(gradient), Up(gradient), beta);
        }, again: Forward);

        void Forward(Tensor value) => tape.Device.SiluMultiply(Gate(gateUp.Value), Up(gateUp.Value), value);

        Matrix Gate(Matrix rows) => rows.SliceColumns(0, half);

        Matrix Up(Matrix rows) => rows.SliceColumns(half, half);
    }
}
