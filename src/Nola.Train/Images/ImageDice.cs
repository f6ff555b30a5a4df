using Nola.Tensors;

namespace Nola.Train;

/// <summary>Random numbers for one image in one epoch: a pure function of seed, epoch and image, whoever asks and when.</summary>
internal sealed class ImageDice(ulong seed, int epoch, int image)
{
    // What sets these numbers apart from others of the seed.
    private const uint Purpose = 0x494D_4147;

    private uint thrown;

    /// <summary>A number from <paramref name="low"/> up to <paramref name="high"/>.</summary>
    public double Between(double low, double high) => low + (high - low) * Next();

    /// <summary>A whole number from 0 below <paramref name="end"/>.</summary>
    public int Below(int end) => Math.Min(end - 1, (int)(Next() * end));

    /// <summary>True with a probability.</summary>
    public bool Hits(double probability) => Next() < probability;

    // 24 bits, from 0 up to 1.
    private double Next()
    {
        (uint word, _, _, _) = Philox.Block(thrown++, (uint)image, (uint)epoch, Purpose, (uint)seed, (uint)(seed >> 32));
        return (word >> 8) * (1.0 / (1 << 24));
    }
}
