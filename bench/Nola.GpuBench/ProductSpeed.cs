using Nola.Models;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>
/// Times of matrix products: two squares, and the maps of a block forward, backward and for the gradient of a weight. Weights
/// are stored in bfloat16; rounding the other operand, which is float32, is part of the time, as it is in training.
/// </summary>
internal static class ProductSpeed
{
    /// <summary>A table of the maps alone, for a device of another precision than the rest is timed with.</summary>
    public static void Table(Bench bench)
    {
        bench.Report.Table(
            $"Products at the sizes of {bench.Work.Size}, {bench.Work.Tokens:N0} tokens: {bench.Device.Description}",
            "kernel", "time", "rate");
        Maps(bench);
        bench.Report.Line("");
    }

    /// <summary>Rows of the square and of the maps.</summary>
    public static void Rows(Bench bench)
    {
        Device d = bench.Device;
        int edge = bench.Work.Tokens;
        using (Tensor w = Bench.Noise(d, [edge, edge]), x = Bench.Noise(d, [edge, edge], 2), y = d.Empty([edge, edge]))
        using (FrozenMatrix frozen = d.Freeze(w, format: WeightFormat.BFloat16))
            Time(bench, $"x · W ({edge}, {edge})", edge, edge, () => d.MatMul(x, frozen, null, y));
        Maps(bench);
    }

    private static void Maps(Bench bench)
    {
        Device d = bench.Device;
        Gpt2Config config = bench.Work.Config;
        int c = config.Channels, n = bench.Work.Tokens;
        foreach ((int inputs, int outputs) in (ReadOnlySpan<(int, int)>)[(c, 3 * c), (c, c), (c, config.Inner), (config.Inner, c)])
        {
            using Tensor w = Bench.Noise(d, [inputs, outputs]), x = Bench.Noise(d, [n, inputs], 2), dy = Bench.Noise(d, [n, outputs], 3);
            using Tensor y = d.Empty([n, outputs]), dx = d.Empty([n, inputs]), dw = d.Empty([inputs, outputs]);
            using FrozenMatrix frozen = d.Freeze(w, format: WeightFormat.BFloat16);
            string shape = $"({inputs}, {outputs})";
            Time(bench, $"x · W {shape}", inputs, outputs, () => d.MatMul(x, frozen, null, y));
            Time(bench, $"dy · Wᵀ {shape}", inputs, outputs, () => d.MatMulTransposed(dy, frozen, dx));
            Time(bench, $"xᵀ · dy {shape}", inputs, outputs, () => d.MatMul(x, true, dy, false, dw));
            if (outputs != config.Inner) continue;
            using Tensor bias = d.Zeros([outputs]), activated = d.Empty([n, outputs]);
            Time(bench, $"gelu(x · W + bias) {shape}", inputs, outputs, () => d.MatMul(x, frozen, bias, y, activated: activated));
        }
    }

    private static void Time(Bench bench, string name, int inputs, int outputs, Action run) =>
        bench.Time(name, run, 2.0 * bench.Work.Tokens * inputs * outputs, 1e12, "TFLOP/s");
}
