using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A head of the adapter's own, trained as a whole beside whatever the method adds, as PEFT's <c>modules_to_save</c>: an image model's
/// <c>classifier.weight</c> (classes, channels) and <c>classifier.bias</c>, or a language model's <c>lm_head.weight</c> (V, C). They
/// begin as the model's. A head that is the token embedding too becomes another one, and the embedding stays as it is.
/// </summary>
internal sealed class HeadStack : DeltaStack
{
    /// <summary>A head of some values; the model's own are <see cref="HeadTensor.Values"/>.</summary>
    public HeadStack(AdaptableLayer head, Device device, Func<HeadTensor, float[]> values)
    {
        Layers = [head];
        using Rollback made = new();
        List<Parameter> parameters = [];
        foreach (HeadTensor tensor in head.HeadTensors)
            parameters.Add(made.Add(new Parameter(tensor.Name, device.From(values(tensor), Shape.Create(tensor.Shape)))));
        made.Commit();
        Parameters = parameters;
    }

    public override IReadOnlyList<AdaptableLayer> Layers { get; }

    public override IReadOnlyList<Parameter> Parameters { get; }

    public override IEnumerable<Delta> On(Tape tape, int row) =>
        [new WholeMap(tape.Read(Parameters[0]), Parameters.Count > 1 ? tape.Read(Parameters[1]) : null)];

    public override void Freeze()
    {
        foreach (Parameter parameter in Parameters) parameter.Trainable = false;
    }

    /// <summary>The heads of what a file says, not to be changed any more; none where it has none.</summary>
    public static IReadOnlyList<HeadStack> Load(IModel model, AdapterContent content)
    {
        if (!content.Form.Options.TrainHead) return [];
        using Rollback made = new();
        HeadStack[] stacks =
            [.. model.Heads.Select(head => made.Add(new HeadStack(head, model.Device, tensor => content.Values(tensor.Name))))];
        foreach (HeadStack stack in stacks) stack.Freeze();
        made.Commit();
        return stacks;
    }

    /// <summary>Names and shapes of what is trained for the heads of a model; nothing where none is trained.</summary>
    public static IEnumerable<(string Name, int[] Shape)> Trained(AdapterOptions options, IModel model) =>
        options.TrainHead ? model.Heads.SelectMany(head => head.HeadTensors.Select(tensor => (tensor.Name, tensor.Shape))) : [];

    /// <summary>
    /// Whether a tensor of an adapter file is a head's, whatever its family calls it: nothing that a method trains is called weight.
    /// </summary>
    public static bool IsOf(string name) =>
        name.EndsWith(".weight", StringComparison.Ordinal) || name.EndsWith("classifier.bias", StringComparison.Ordinal);

    /// <summary>Refuses to train a head that there is not, or one that is adapted too.</summary>
    public static void Check(IModel model, AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        if (!options.TrainHead) return;
        if (model.Heads.Count == 0)
            throw new NolaException($"train-head is true, and {Quoted.Of(model.Source)} has no classifier.");
        if (groups.SelectMany(group => group.Maps).FirstOrDefault(map => model.Heads.Contains(map.Host)) is { } adapted)
            throw new NolaException(
                $"train-head is true, and targets name {adapted.Name}, which would be trained as a whole and adapted; "
                + "choose one of the two.");
    }

    protected override void Release()
    {
        foreach (Parameter parameter in Parameters) parameter.Dispose();
    }
}
