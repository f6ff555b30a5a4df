using Nola.Models;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>Times of the products of a block: forward, backward, for the gradient of a weight, and with GELU at the end.</summary>
internal static class ProductSpeed
{
    /// <summary>A table of them, on a device of another precision than the rest is timed with.</summary>
    public static void Run(Device device, string size, Report report)
    {
        report.Table($"Products at the sizes of {size}, {Speed.Tokens:N0} tokens: {device.Description}", "kernel", "time", "rate");
        Run(device, Config(size), report);
        report.Line("");
    }

    /// <summary>The rows of the table.</summary>
    public static void Run(Device d, Gpt2Config config, Report report)
    {
        int c = config.Channels;
        foreach ((int inputs, int outputs) in (ReadOnlySpan<(int, int)>)[(c, 3 * c), (c, c), (c, config.Inner), (config.Inner, c)])
        {
            using Tensor w = Noise(d, [inputs, outputs]), x = Noise(d, [Speed.Tokens, inputs]), dy = Noise(d, [Speed.Tokens, outputs]);
            using Tensor y = d.Empty([Speed.Tokens, outputs]), dx = d.Empty([Speed.Tokens, inputs]), dw = d.Empty([inputs, outputs]);
            using FrozenMatrix frozen = d.Freeze(w, storage: DType.BFloat16);
            string shape = $"({inputs}, {outputs})";
            double flop = 2.0 * Speed.Tokens * inputs * outputs;
            Time($"x · W {shape}", () => d.MatMul(x, frozen, null, y));
            Time($"dy · Wᵀ {shape}", () => d.MatMulTransposed(dy, frozen, dx));
            Time($"xᵀ · dy {shape}", () => d.MatMul(x, true, dy, false, dw));
            if (outputs != config.Inner) continue;
            using Tensor bias = d.Zeros([outputs]), activated = d.Empty([Speed.Tokens, outputs]);
            Time($"gelu(x · W + bias) {shape}", () => d.MatMul(x, frozen, bias, y, activated: activated));

            void Time(string name, Action run) => Speed.Time(d, report, name, run, flop, 1e12, "TFLOP/s");
        }
    }

    /// <summary>The size of that name.</summary>
    /// <exception cref="NolaException">There is none.</exception>
    public static Gpt2Config Config(string size) =>
        Gpt2Config.ByName(size) ?? throw new NolaException($"--size {size} is not known; use gpt2, gpt2-medium, gpt2-large or gpt2-xl.");

    /// <summary>Numbers that are not zero: a card's clock depends on what its multipliers do.</summary>
    internal static Tensor Noise(Device device, Shape shape)
    {
        RandomBasis basis = new(1, 0, 0, 1, shape.Rows, shape.Columns, BasisEntries.Uniform);
        Tensor tensor = device.Empty([1, shape.Rows, shape.Columns]);
        using Tensor one = device.From([1f], [1, 1]);
        device.BasisMix(basis, one, tensor);
        return tensor;
    }
}
