using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Images as a model reads them. Pictures from files are kept, as long as there is room, so that they are decoded once; what an image
/// becomes is a function of seed, epoch and its place alone, for any number of threads.
/// </summary>
/// <param name="model">What reads them.</param>
/// <param name="images">The images.</param>
/// <param name="augmentation">How they are changed.</param>
/// <param name="seed">Seed of the changes.</param>
internal sealed class PreparedImages(VisionModel model, IReadOnlyList<LabeledImage> images, Augmentation augmentation, ulong seed)
{
    // Bytes of decoded pictures that are kept.
    private const long MostKept = 512L << 20;

    private readonly RgbImage?[] kept = new RgbImage?[images.Count];
    private long bytes;

    /// <summary>A batch of an epoch.</summary>
    public TokenStream Stream(int[] batch, int epoch)
    {
        float[][] pixels = new float[batch.Length][];
        Parallel.For(0, batch.Length, i =>
        {
            ImageDice dice = new(seed, epoch, batch[i]);
            RgbImage seen = ImageAugmentation.Apply(Picture(batch[i]), augmentation, model.Preprocessing, dice);
            pixels[i] = model.Preprocessing.Normalize(seen);
        });
        return model.Stream(pixels, [.. batch.Select(i => images[i].Label)]);
    }

    private RgbImage Picture(int i)
    {
        if (kept[i] is { } there) return there;
        RgbImage read = images[i].Read();
        if (Interlocked.Add(ref bytes, read.Pixels.Length) <= MostKept) kept[i] = read;
        return read;
    }
}

/// <summary>Streams that are made one ahead, while the one before is computed.</summary>
/// <param name="make">Makes the stream of a batch of an epoch.</param>
internal sealed class StreamAhead(Func<int[], int, TokenStream> make)
{
    private (int[] Batch, int Epoch, Task<TokenStream> Stream)? next;

    /// <summary>Begins a stream that will be asked for.</summary>
    public void Prepare(int[] batch, int epoch) => next = (batch, epoch, Task.Run(() => make(batch, epoch)));

    /// <summary>A stream; the prepared one where it is that.</summary>
    public TokenStream Take(int[] batch, int epoch)
    {
        if (next is not { } prepared || prepared.Epoch != epoch || !prepared.Batch.SequenceEqual(batch))
            return Unwrapped(() => make(batch, epoch));
        next = null;
        return Unwrapped(prepared.Stream.GetAwaiter().GetResult);
    }

    // What goes wrong in several images at once is told of the first.
    private static TokenStream Unwrapped(Func<TokenStream> make)
    {
        try
        {
            return make();
        }
        catch (AggregateException error) when (error.InnerException is NolaException first)
        {
            throw new NolaException(first.Message, error) { Options = first.Options };
        }
    }
}
