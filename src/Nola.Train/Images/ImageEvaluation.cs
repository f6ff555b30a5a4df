using System.Runtime.InteropServices;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>How many images are told right, and what the others are taken for.</summary>
/// <param name="Labels">What the classes are called.</param>
/// <param name="Confusion">Images by the class that they are of and the one that they are taken for. [of, taken for]</param>
/// <param name="Loss">Mean cross-entropy, in nats an image.</param>
public sealed record ImageResult(IReadOnlyList<string> Labels, int[,] Confusion, double Loss)
{
    /// <summary>Number of images.</summary>
    public int Count => Confusion.Cast<int>().Sum();

    /// <summary>Number that is told right.</summary>
    public int Right => Enumerable.Range(0, Labels.Count).Sum(label => Confusion[label, label]);

    /// <summary>The share that is told right.</summary>
    public double Accuracy => (double)Right / Count;

    /// <summary>The mean over classes with images of the share that is told right.</summary>
    public double MeanPerClass => Enumerable.Range(0, Labels.Count).Where(label => CountOf(label) > 0).Average(AccuracyOf);

    /// <summary>Number of images of a class.</summary>
    public int CountOf(int label) => Enumerable.Range(0, Labels.Count).Sum(taken => Confusion[label, taken]);

    /// <summary>The share of a class's images that is told right; NaN where it has none.</summary>
    public double AccuracyOf(int label) => CountOf(label) == 0 ? double.NaN : (double)Confusion[label, label] / CountOf(label);
}

/// <summary>Tests models on images.</summary>
public static class ImageEvaluation
{
    /// <summary>Reads every image and compares what it is taken for with what it is.</summary>
    /// <param name="model">What reads them.</param>
    /// <param name="set">The images, whose classes are among the model's.</param>
    /// <param name="adapter">What they are read with; null for the model alone.</param>
    /// <param name="batchSize">Images that are read at once.</param>
    /// <param name="onRead">Told after each batch how many images were read.</param>
    /// <param name="cancel">Ends it early with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="NolaException">A class is none of the model's, or an image cannot be read.</exception>
    public static ImageResult Test(
        VisionModel model, ImageSet set, IAdapter? adapter = null, int batchSize = 32, Action<int>? onRead = null,
        CancellationToken cancel = default) => Test(model, set, adapter, Alone.Instance, batchSize, onRead, cancel);

    /// <summary>The same, with the batches dealt to ranks; each gets the whole result.</summary>
    internal static ImageResult Test(
        VisionModel model, ImageSet set, IAdapter? adapter, ICollective ranks, int batchSize = 32, Action<int>? onRead = null,
        CancellationToken cancel = default)
    {
        model.CheckClassifier();
        set = set.For(model.Config.Labels);
        int classes = model.Config.Labels.Count;
        int[,] confusion = new int[classes, classes];
        double loss = 0;
        PreparedImages images = new(model, set.Images, Augmentation.None, 0);
        StreamAhead streams = new(images.Stream);
        int[][] batches = [.. Enumerable.Range(0, set.Images.Count).Chunk(batchSize)];
        int read = 0;
        byte[][] all = ranks.Deal(batches.Length, Rows, cancel);
        for (int b = 0; b < batches.Length; b++)
        {
            // Of each image its class, and a value for each class.
            ReadOnlySpan<float> rows = MemoryMarshal.Cast<byte, float>(all[b]);
            for (; rows.Length > 0; rows = rows[(classes + 1)..])
            {
                int label = (int)rows[0];
                ReadOnlySpan<float> row = rows[1..(classes + 1)];
                confusion[label, Best(row)]++;
                loss += LogSum(row) - row[label];
            }
        }
        return new ImageResult(model.Config.Labels, confusion, loss / set.Images.Count);

        byte[] Rows(int b)
        {
            TokenStream stream = streams.Take(batches[b], 0).With(adapter);
            if (b + ranks.Size < batches.Length) streams.Prepare(batches[b + ranks.Size], 0);
            float[] logits = model.Logits(stream);
            onRead?.Invoke(read += batches[b].Length);
            float[] rows = [.. stream.Targets.SelectMany((label, i) => logits[(i * classes)..((i + 1) * classes)].Prepend(label))];
            return MemoryMarshal.AsBytes<float>(rows).ToArray();
        }
    }

    /// <summary>The probabilities of the classes: softmax of a row of logits.</summary>
    public static double[] Probabilities(ReadOnlySpan<float> logits)
    {
        double sum = LogSum(logits);
        double[] probabilities = new double[logits.Length];
        for (int i = 0; i < logits.Length; i++) probabilities[i] = Math.Exp(logits[i] - sum);
        return probabilities;
    }

    private static int Best(ReadOnlySpan<float> row)
    {
        int best = 0;
        for (int i = 1; i < row.Length; i++)
            if (row[i] > row[best]) best = i;
        return best;
    }

    private static double LogSum(ReadOnlySpan<float> row)
    {
        double largest = double.NegativeInfinity, sum = 0;
        foreach (float value in row) largest = Math.Max(largest, value);
        foreach (float value in row) sum += Math.Exp(value - largest);
        return largest + Math.Log(sum);
    }
}
