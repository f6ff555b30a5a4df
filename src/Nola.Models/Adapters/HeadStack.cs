using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A classifier of the adapter's own, trained as a whole beside whatever the method adds: <c>classifier.weight</c> (classes, channels) and
/// <c>classifier.bias</c>, which begin as the model's.
/// </summary>
internal sealed class HeadStack : DeltaStack
{
    private readonly Parameter weight, bias;

    public HeadStack(LinearMap classifier, Device device)
    {
        Layers = [classifier];
        LinearModule module = classifier.Modules[0];
        using Rollback made = new();
        weight = made.Add(new Parameter(
            classifier.Name + ".weight", device.From(classifier.StoredWeight(module), [classifier.Out, classifier.In])));
        bias = new Parameter(classifier.Name + ".bias", device.From(classifier.Bias!.Value.ToArray(), [classifier.Out]));
        made.Commit();
        Parameters = [weight, bias];
    }

    public override IReadOnlyList<AdaptableLayer> Layers { get; }

    public override IReadOnlyList<Parameter> Parameters { get; }

    public override IEnumerable<Delta> On(Tape tape, int row) => [new WholeMap(tape.Read(weight), tape.Read(bias))];

    public override void Freeze() => weight.Trainable = bias.Trainable = false;

    /// <summary>The classifiers of what a file says, not to be changed any more; none where it has none.</summary>
    public static IReadOnlyList<HeadStack> Load(IModel model, AdapterContent content)
    {
        if (!content.Form.Options.TrainHead) return [];
        using Rollback made = new();
        HeadStack[] stacks = [.. model.Classifiers.Select(classifier => made.Add(new HeadStack(classifier, model.Device)))];
        foreach (HeadStack stack in stacks)
        {
            foreach (Parameter parameter in stack.Parameters)
                model.Device.Upload(content.Values(parameter.Name), parameter.Value);
            stack.Freeze();
        }
        made.Commit();
        return stacks;
    }

    /// <summary>Names and shapes of what is trained for the classifiers of a model.</summary>
    public static IEnumerable<(string Name, int[] Shape)> Trained(IModel model) => model.Classifiers.SelectMany(
        classifier => ((string, int[])[])
            [(classifier.Name + ".weight", [classifier.Out, classifier.In]), (classifier.Name + ".bias", [classifier.Out])]);

    /// <summary>Whether a tensor of an adapter file is a classifier's.</summary>
    public static bool IsOf(string name) =>
        name.EndsWith("classifier.weight", StringComparison.Ordinal) || name.EndsWith("classifier.bias", StringComparison.Ordinal);

    /// <summary>Refuses to train a classifier that there is not.</summary>
    public static void Check(IModel model, AdapterOptions options)
    {
        if (options.TrainHead && model.Classifiers.Count == 0)
            throw new NolaException(
                $"train-head is true, and {Quoted.Of(model.Source)} has no classifier; only image models have one that is trained.");
    }

    protected override void Release()
    {
        weight.Dispose();
        bias.Dispose();
    }
}
