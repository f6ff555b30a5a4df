using System.IO.Hashing;
using System.Runtime.InteropServices;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// What identities need of one weight: a hash of all its float32 values, and the few of them that adapter files of earlier
/// versions are compared by (docs/adapter-file.md). Made while the weight is read, in pieces.
/// </summary>
/// <param name="shape">The weight's.</param>
internal sealed class WeightDigest(Shape shape)
{
    private const int MostSamples = 256;

    private readonly XxHash128 hash = new();
    private readonly float[] sample = new float[Math.Min(MostSamples, shape.Length)];
    private long added;
    private int sampled;
    private string? text;

    /// <summary>Dimensions of the weight.</summary>
    public Shape Shape => shape;

    /// <summary>XXH128 of the values, little-endian, in row-major order. 32 hex digits.</summary>
    public string Hash => text ??= Convert.ToHexStringLower(hash.GetCurrentHash());

    /// <summary>min(256, n) of the n elements, evenly spaced.</summary>
    public ReadOnlySpan<float> Sample => sample;

    /// <summary>The digest of a weight that is in memory.</summary>
    public static WeightDigest Of(Shape shape, ReadOnlySpan<float> values)
    {
        WeightDigest digest = new(shape);
        digest.Add(values);
        return digest;
    }

    /// <summary>Takes in the next elements.</summary>
    public void Add(ReadOnlySpan<float> piece)
    {
        hash.Append(MemoryMarshal.AsBytes(piece));
        for (; sampled < sample.Length && Place(sampled) < added + piece.Length; sampled++)
            sample[sampled] = piece[(int)(Place(sampled) - added)];
        added += piece.Length;
    }

    private long Place(long i) => i * shape.Length / sample.Length;
}
