using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// y = x · rstd · weight over the last dimension, rstd = 1/√(mean(x²) + epsilon) (Zhang and Sennrich 2019).
    /// x, y: (…, C); weight: (C).
    /// With x̂ = x · rstd and g = dy · weight: dx = rstd · (g − x̂ · mean(g · x̂)); dweight = Σ dy · x̂.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable RmsNorm(Variable x, Variable weight, float epsilon = 1e-5f)
    {
        if (weight.Value.Length != x.Shape.Columns)
            throw new ShapeException($"RmsNorm: x is {x.Shape} and weight {weight.Shape}; expected (…, C) and (C).");
        Tape tape = x.Tape;
        Device device = tape.Device;
        Variable y = tape.New(x.Shape);
        Tensor rstd = device.Empty([x.Shape.Rows]);
        device.RmsNorm(x.Value, weight.Value, epsilon, y.Value, rstd);
        return tape.Record(y, [x, weight], [x, weight], [rstd], dy =>
        {
            if (x.TakesGradient(out Tensor dx, out float beta)) device.RmsNormGrad(x.Value, weight.Value, rstd, dy, dx, beta);
            if (weight.TakesGradient(out Tensor dweight, out float betaWeight))
                device.RmsNormWeightGrad(x.Value, rstd, dy, dweight, betaWeight);
        }, again: value => device.RmsNorm(x.Value, weight.Value, epsilon, value, rstd));
    }

    /// <summary>
    /// qkv with every head of q and of k normalized by itself, as <see cref="RmsNorm"/> does a row; v stays as it is (Qwen3).
    /// qkv, y: (N, (H + 2G) · D); query and key, the weights of all heads of q and of k: (D).
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable RmsNormHeads(Variable qkv, Variable query, Variable key, AttentionLayout layout, float epsilon = 1e-6f)
    {
        if (qkv.Shape.Columns != layout.Width || query.Value.Length != layout.HeadSize || key.Value.Length != layout.HeadSize)
        {
            throw new ShapeException(
                $"RmsNormHeads: qkv is {qkv.Shape}, the weights {query.Shape} and {key.Shape}, for {layout.Heads} query heads and "
                + $"{layout.KeyValueHeads} key and value heads of {layout.HeadSize}; expected (N, (H + 2G) · D), (D) and (D).");
        }
        Tape tape = qkv.Tape;
        Device device = tape.Device;
        int n = qkv.Shape.Rows;
        Variable y = tape.New(qkv.Shape);
        Tensor queryRstd = device.Empty([n, layout.Heads]), keyRstd = device.Empty([n, layout.KeyValueHeads]);
        Forward(y.Value);
        return tape.Record(y, [qkv, query, key], [qkv, query, key], [queryRstd, keyRstd], dy =>
        {
            if (query.TakesGradient(out Tensor dquery, out float betaQuery))
                device.RmsNormWeightGrad(Queries(qkv.Value), queryRstd, Queries(dy), dquery, betaQuery);
            if (key.TakesGradient(out Tensor dkey, out float betaKey))
                device.RmsNormWeightGrad(Keys(qkv.Value), keyRstd, Keys(dy), dkey, betaKey);
            if (!qkv.NeedsGradient) return;
            // dy becomes dqkv where it lies, of which v's part is there already.
            device.RmsNormGrad(Queries(qkv.Value), query.Value, queryRstd, Queries(dy), Queries(dy));
            device.RmsNormGrad(Keys(qkv.Value), key.Value, keyRstd, Keys(dy), Keys(dy));
            tape.PassGradient(y, qkv);
        }, again: Forward);

        void Forward(Tensor value)
        {
            device.RmsNorm(Queries(qkv.Value), query.Value, epsilon, Queries(value), queryRstd);
            device.RmsNorm(Keys(qkv.Value), key.Value, epsilon, Keys(value), keyRstd);
            device.CopyColumns(Values(qkv.Value), Values(value));
        }

        Matrix Queries(Matrix rows) => rows.SliceColumns(0, layout.QueryWidth);

        Matrix Keys(Matrix rows) => rows.SliceColumns(layout.KeyColumn, layout.KeyWidth);

        Matrix Values(Matrix rows) => rows.SliceColumns(layout.ValueColumn, layout.KeyWidth);
    }
}
