using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>Labeled images as a trainer learns from them.</summary>
internal sealed class ImageTrainingSet : ITrainingSet
{
    private readonly ImageSet training;
    private readonly ImageSet? validation;
    private readonly TrainOptions options;
    private readonly StreamAhead streams;

    /// <summary>Prepares the set.</summary>
    /// <param name="model">What learns; its classes are the set's.</param>
    /// <param name="training">What is learned from.</param>
    /// <param name="validation">What is evaluated on; null for nothing.</param>
    /// <param name="options">Size of a batch, and the seed of shuffles and changes.</param>
    /// <param name="augmentation">How images are changed from epoch to epoch.</param>
    /// <exception cref="NolaException">The classes are not the model's, or no size of a batch is given.</exception>
    public ImageTrainingSet(
        VisionModel model, ImageSet training, ImageSet? validation, TrainOptions options, Augmentation augmentation)
    {
        if (!training.Labels.SequenceEqual(model.Config.Labels))
            throw new NolaException(
                $"{training.Name}: its {training.Labels.Count} classes are not those that the model was loaded for; load it with their "
                + "names.");
        if (options.BatchSize == 0)
            throw new NolaException("batch-size is 0; for images, expected the number of a batch, for example 16.");
        (this.training, this.validation, this.options) = (training, validation?.For(training.Labels), options);
        PreparedImages images = new(model, training.Images, augmentation, options.Seed);
        streams = new(images.Stream);
    }

    public bool IsEmpty => training.Images.Count == 0;

    public string Digest => training.Digest();

    public string ValidationDigest => validation?.Digest() ?? "";

    public bool HasValidation => validation is not null;

    public List<int[]> Epoch(int epoch)
    {
        int[] order = [.. Enumerable.Range(0, training.Images.Count)];
        Batches.Shuffle(order, epoch, 0, options.Seed);
        return [.. order.Chunk(options.BatchSize)];
    }

    public TokenStream Stream(int[] batch, int epoch) => streams.Take(batch, epoch);

    public int Positions(int[] batch) => batch.Length;

    public void Prepare(int[] batch, int epoch) => streams.Prepare(batch, epoch);

    public EvalReport Evaluate(IModel model, IAdapter? adapter, ICollective ranks, CancellationToken cancel)
    {
        ImageSet set = validation!;
        if (options.EvalPairs > 0 && options.EvalPairs < set.Images.Count)
        {
            int all = set.Images.Count, some = options.EvalPairs;
            set = new ImageSet(
                set.Name, set.Labels, [.. Enumerable.Range(0, some).Select(i => validation!.Images[(int)((long)i * all / some)])]);
        }
        ImageResult result = ImageEvaluation.Test((VisionModel)model, set, adapter, ranks, cancel: cancel);
        return new EvalReport(0, result.Loss, result.Count, false) { Accuracy = result.Accuracy };
    }
}
