using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The weights of a vision transformer that is not read as it is stored: with a new classifier, which starts at zero, or for images of
/// another size, for which the position embeddings are interpolated.
/// </summary>
/// <param name="stored">Where the rest comes from.</param>
/// <param name="device">Where the weights are put.</param>
/// <param name="fresh">Names of classifiers that start at zero.</param>
/// <param name="from">
/// Patches of a side that positions are stored for; as many as <paramref name="to"/> where nothing is interpolated.
/// </param>
/// <param name="to">Patches of a side that the model has.</param>
/// <param name="prefix">Positions before those of the patches.</param>
internal sealed class VitWeights(IWeightSource stored, Device device, IReadOnlyList<string> fresh, int from, int to, int prefix)
    : IWeightSource
{
    public Tensor Read(string name, Shape shape, out WeightDigest? digest)
    {
        if (IsFresh(name))
        {
            digest = null;
            return device.Zeros(shape);
        }
        if (from == to || name != "embeddings.position_embeddings") return stored.Read(name, shape, out digest);
        digest = null;
        using Tensor whole = stored.Read(name, [1, prefix + from * from, shape.Columns], out _);
        return device.From(Resized(whole.ToArray(), shape.Columns), shape);
    }

    public void Stream(string name, Shape shape, TakeValues take, out WeightDigest? digest) => stored.Stream(name, shape, take, out digest);

    public QuantizedMatrix? Quantized(string name, int outputs, int inputs) => stored.Quantized(name, outputs, inputs);

    public bool IsBFloat16(string name) => stored.IsBFloat16(name);

    private bool IsFresh(string name) => fresh.Any(classifier => name.StartsWith(classifier + ".", StringComparison.Ordinal));

    // Bicubic with a = −3/4, as PyTorch's interpolate does it: columns and rows of each channel, edges repeated.
    private float[] Resized(float[] table, int channels)
    {
        float[] resized = new float[(prefix + to * to) * channels];
        table.AsSpan(0, prefix * channels).CopyTo(resized);
        (int First, double[] Weights)[] taps = [.. Enumerable.Range(0, to).Select(Taps)];
        for (int y = 0; y < to; y++)
            for (int x = 0; x < to; x++)
                for (int c = 0; c < channels; c++)
                    resized[(prefix + y * to + x) * channels + c] = (float)Mixed(taps[y], taps[x], c);
        return resized;

        double Mixed((int First, double[] Weights) down, (int First, double[] Weights) across, int channel)
        {
            double sum = 0;
            for (int i = 0; i < 4; i++)
            {
                int row = Math.Clamp(down.First + i, 0, from - 1);
                double line = 0;
                for (int j = 0; j < 4; j++)
                {
                    int column = Math.Clamp(across.First + j, 0, from - 1);
                    line += across.Weights[j] * table[(prefix + row * from + column) * channels + channel];
                }
                sum += down.Weights[i] * line;
            }
            return sum;
        }
    }

    private (int First, double[] Weights) Taps(int i)
    {
        const double A = -0.75;
        double place = (i + 0.5) * from / to - 0.5, low = Math.Floor(place), t = place - low;
        return ((int)low - 1, [Far(t + 1), Near(t), Near(1 - t), Far(2 - t)]);

        static double Near(double x) => ((A + 2) * x - (A + 3)) * x * x + 1;

        static double Far(double x) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;
    }
}
