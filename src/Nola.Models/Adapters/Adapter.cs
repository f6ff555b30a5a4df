using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// What is added to the linear maps of a model: by <see cref="AdapterOptions.Method"/>, for each kind of adapted map a stack with
/// one delta for each layer. It is on no model by itself; each sequence of a batch names the adapter that it is read with.
/// </summary>
public abstract class Adapter : IAdapter, IDisposable
{
    // Where each adapted layer finds its deltas.
    private readonly Dictionary<AdaptableLayer, List<(DeltaStack Stack, int Row)>> places = [];

    private protected Adapter(IModel model, AdapterOptions options, IReadOnlyList<MapGroup> groups, IReadOnlyList<DeltaStack> stacks)
    {
        (Model, Options, Groups, Stacks) = (model, options, groups, stacks);
        foreach (DeltaStack stack in stacks)
        {
            for (int row = 0; row < stack.Layers.Count; row++)
            {
                if (!places.TryGetValue(stack.Layers[row], out List<(DeltaStack, int)>? found)) places[stack.Layers[row]] = found = [];
                found.Add((stack, row));
            }
        }
    }

    /// <summary>The model that it is for.</summary>
    public IModel Model { get; }

    /// <summary>Its settings.</summary>
    public AdapterOptions Options { get; }

    /// <summary>The adapted kinds of map, in the order of their numbers.</summary>
    public IReadOnlyList<MapGroup> Groups { get; }

    /// <summary>Number of trained values.</summary>
    public long ParameterCount => CountOf(TrainedBy(Options, Model, Groups));

    internal IReadOnlyList<DeltaStack> Stacks { get; }

    /// <inheritdoc/>
    public IReadOnlyList<Delta> On(AdaptableLayer layer, Tape tape) =>
        places.TryGetValue(layer, out List<(DeltaStack Stack, int Row)>? found)
            ? [.. found.SelectMany(place => place.Stack.On(tape, place.Row))]
            : [];

    /// <summary>Adds itself to the model's own weights: the model alone then gives what model and adapter gave, up to rounding.</summary>
    /// <exception cref="NolaException">A layer of the model has no place for what was trained; the model is as it was.</exception>
    public void Merge()
    {
        using Tape tape = new(Model.Device, record: false);
        foreach ((AdaptableLayer layer, List<(DeltaStack Stack, int Row)> found) in places)
            if (layer.Bias is null && found.Any(place => place.Stack.On(tape, place.Row).Any(delta => delta is AddedBias)))
                throw new NolaException($"Merging: a bias was trained for {layer.Name}, which has none in the model, "
                    + "so there is no place for it; keep it as an adapter.");
        foreach ((AdaptableLayer layer, List<(DeltaStack Stack, int Row)> found) in places)
            layer.Merge(found.SelectMany(place => place.Stack.On(tape, place.Row)));
    }

    /// <summary>Gives the memory back.</summary>
    public void Dispose()
    {
        foreach (DeltaStack stack in Stacks) stack.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Resolves the targets of settings on a model, and refuses what does not fit, before anything is allocated.</summary>
    /// <exception cref="NolaException">A setting is out of range, or the targets match nothing.</exception>
    internal static IReadOnlyList<MapGroup> Check(IModel model, AdapterOptions options)
    {
        IReadOnlyList<MapGroup> groups =
            options.Method.AdaptsMaps ? AdapterTargets.Resolve(options.Targets, model.AdaptableMaps) : [];
        // What the maps allow is said first, since it is more to the point.
        options.Method.Check(options, groups);
        options.Method.Check(options);
        HeadStack.Check(model, options, groups);
        return groups;
    }

    /// <summary>Bytes that an adapter of a form takes on its device.</summary>
    internal static long LoadedBytes(AdapterForm form, IModel model) =>
        form.Options.Method.LoadedBytes(form.Options, model, form.Groups)
        + sizeof(float) * CountOf(HeadStack.Trained(form.Options, model));

    /// <summary>Number of values of what is trained.</summary>
    internal static long CountOf(IEnumerable<(string Name, int[] Shape)> trained) =>
        trained.Sum(one => one.Shape.Aggregate(1L, (product, d) => product * d));

    /// <summary>What is trained, in the order of the file: by the method, and of the heads.</summary>
    internal static IEnumerable<(string Name, int[] Shape)> TrainedBy(
        AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        [.. options.Method.Trained(options, model, groups), .. HeadStack.Trained(options, model)];
}

/// <summary>An adapter that is trained: parameters, and what is made of them.</summary>
public sealed class TrainableAdapter : Adapter
{
    private TrainableAdapter(IModel model, AdapterOptions options, IReadOnlyList<MapGroup> groups, IReadOnlyList<DeltaStack> stacks)
        : base(model, options, groups, stacks) =>
        Parameters = [.. stacks.SelectMany(stack => stack.Parameters)];

    /// <summary>What is trained, in the order of the file. After changing their values, call <see cref="Update"/>.</summary>
    public IReadOnlyList<Parameter> Parameters { get; }

    /// <summary>Those of them that are a head of the adapter's own; the last ones.</summary>
    public IReadOnlyList<Parameter> HeadParameters => [.. Stacks.OfType<HeadStack>().SelectMany(stack => stack.Parameters)];

    /// <summary>The parts whose gradients were added up in each step of its training, for its file; 1 for steps in one piece.</summary>
    internal int Shards { get; set; } = 1;

    /// <summary>
    /// Brings what is made of the parameters up to date;
    /// whoever changes the parameters calls it, as the trainer does after each step.
    /// </summary>
    public void Update()
    {
        foreach (DeltaStack stack in Stacks) stack.Update();
    }

    /// <summary>Brings the gradients of the batches to the parameters; once after the batches of an optimizer step.</summary>
    public void CollectGradients()
    {
        foreach (DeltaStack stack in Stacks) stack.CollectGradients();
    }

    /// <summary>
    /// <see cref="Update"/> of many adapters of one form, each as alone, to the bit; what all have in common is made once.
    /// </summary>
    internal static void UpdateTogether(IReadOnlyList<TrainableAdapter> adapters)
    {
        for (int i = 0; i < adapters[0].Stacks.Count; i++)
            adapters[0].Stacks[i].UpdateTogether([.. adapters.Select(adapter => adapter.Stacks[i])]);
    }

    /// <summary>
    /// <see cref="CollectGradients"/> of many adapters of one form that were updated together, each as alone, to the bit.
    /// </summary>
    internal static void CollectTogether(IReadOnlyList<TrainableAdapter> adapters)
    {
        for (int i = 0; i < adapters[0].Stacks.Count; i++)
            adapters[0].Stacks[i].CollectTogether([.. adapters.Select(adapter => adapter.Stacks[i])]);
    }

    /// <summary>A new adapter with its method's initial values.</summary>
    internal static TrainableAdapter Create(IModel model, AdapterOptions options)
    {
        using Rollback made = new();
        TrainableAdapter adapter = made.Add(Allocate(model, options));
        adapter.Update();
        made.Commit();
        return adapter;
    }

    /// <summary>An adapter of trained values.</summary>
    /// <param name="model">The model that it is for.</param>
    /// <param name="options">Its settings.</param>
    /// <param name="values">The values of a parameter.</param>
    internal static TrainableAdapter Of(IModel model, AdapterOptions options, Func<Parameter, float[]> values)
    {
        using Rollback made = new();
        TrainableAdapter adapter = made.Add(Allocate(model, options));
        foreach (Parameter parameter in adapter.Parameters) model.Device.Upload(values(parameter), parameter.Value);
        adapter.Update();
        made.Commit();
        return adapter;
    }

    private static TrainableAdapter Allocate(IModel model, AdapterOptions options)
    {
        IReadOnlyList<MapGroup> groups = Check(model, options);
        using Rollback made = new();
        List<DeltaStack> stacks = [];
        foreach (DeltaStack stack in options.Method.Create(options, model, groups)) stacks.Add(made.Add(stack));
        if (options.TrainHead)
            foreach (AdaptableLayer head in model.Heads) stacks.Add(made.Add(new HeadStack(head, model.Device, tensor => tensor.Values())));
        TrainableAdapter adapter = new(model, options, groups, stacks);
        made.Commit();
        return adapter;
    }
}

/// <summary>
/// An adapter that is read and never changed: what a file holds, ready to be used by any number of sequences. It holds each factor
/// once and no coefficients.
/// </summary>
public sealed class LoadedAdapter : Adapter
{
    private LoadedAdapter(
        IModel model, AdapterOptions options, IReadOnlyList<MapGroup> groups, IReadOnlyList<DeltaStack> stacks, string digest)
        : base(model, options, groups, stacks) =>
        Digest = digest;

    /// <summary>A digest of the trained values and settings, by which equal adapters are known. 32 hex digits.</summary>
    public string Digest { get; }

    /// <summary>Makes a read-only adapter of what a file says.</summary>
    internal static LoadedAdapter Of(IModel model, AdapterContent content) => Of(model, [content])[0];

    /// <summary>Makes adapters of one form together; each is, to the bit, what it is alone.</summary>
    internal static IReadOnlyList<LoadedAdapter> Of(IModel model, IReadOnlyList<AdapterContent> contents)
    {
        AdapterForm form = contents[0].Form;
        using Rollback made = new();
        IReadOnlyList<IReadOnlyList<DeltaStack>> stacks = form.Options.Method.Load(model, contents);
        foreach (DeltaStack stack in stacks.SelectMany(own => own)) made.Add(stack);
        LoadedAdapter[] adapters =
        [
            .. contents.Zip(stacks, (content, own) => made.Add(new LoadedAdapter(
                model, form.Options, form.Groups, [.. own, .. HeadStack.Load(model, content)], content.Digest))),
        ];
        made.Commit();
        return adapters;
    }
}

/// <summary>New adapters for models.</summary>
public static class AdapterModelExtensions
{
    /// <summary>A new adapter for a frozen model, to be trained; the model itself does not change.</summary>
    /// <param name="model">The base.</param>
    /// <param name="options">The method and its settings.</param>
    /// <exception cref="NolaException">A setting is out of range, or does not fit the model.</exception>
    public static TrainableAdapter NewAdapter(this IModel model, AdapterOptions options) => TrainableAdapter.Create(model, options);
}
