using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A method of parameter-efficient fine-tuning: its name, its options, what it trains, and what that does to a linear map. Adapter
/// files, configurations, help, resuming and experiments ask the method; nothing else knows the names of methods.
/// </summary>
public abstract class AdapterMethod
{
    /// <summary>The largest rank. PEFT takes any; but above the width of a map a higher one can express nothing more.</summary>
    internal const int LargestRank = 65_536;

    /// <summary>What it is called in files and on the command line, in lower case.</summary>
    public abstract string Name { get; }

    /// <summary>What it is called in prose, for example NOLA.</summary>
    public abstract string Title { get; }

    /// <summary>The published settings.</summary>
    public abstract AdapterOptions Defaults { get; }

    /// <summary>The published learning rate.</summary>
    public abstract double LearningRate { get; }

    /// <summary>Settings for the small embedded model and its short run.</summary>
    public virtual AdapterOptions DefaultsForEmbedded => Defaults;

    /// <summary>The learning rate for the small embedded model and its short run.</summary>
    public virtual double LearningRateForEmbedded => LearningRate;

    /// <summary>Settings for images: with a classifier of its own, and otherwise as published where that is for images too.</summary>
    public virtual AdapterOptions DefaultsForImages => Defaults with { TrainHead = true };

    /// <summary>The learning rate for images.</summary>
    public virtual double LearningRateForImages => 0.005;

    /// <summary>The learning rate for images on the small embedded model.</summary>
    public virtual double LearningRateForEmbeddedImages => LearningRateForImages;

    /// <summary>The method's own options, beside rank, alpha and targets.</summary>
    public abstract IReadOnlyList<AdapterOption> OwnOptions { get; }

    /// <summary>The options that it has in common with others: rank, alpha and targets, as far as they mean something for it.</summary>
    public virtual IReadOnlyList<AdapterOption> CommonOptions => AdapterOption.Common;

    /// <summary>All options.</summary>
    public IEnumerable<AdapterOption> Options => [.. CommonOptions, .. OwnOptions, AdapterOption.Head];

    /// <summary>Whether it is on linear maps that targets name; false for a method that names what it trains itself.</summary>
    public virtual bool AdaptsMaps => true;

    /// <summary>Refuses settings that are out of range, whatever the model.</summary>
    /// <exception cref="NolaException">A setting is out of range; the message names it.</exception>
    public virtual void Check(AdapterOptions options)
    {
        if (options.Rank is < 1 or > LargestRank) throw new NolaException($"rank is {options.Rank}; expected 1 to {LargestRank}.");
        if (!(options.Alpha > 0 && float.IsFinite(options.Alpha)))
            throw new NolaException(FormattableString.Invariant($"alpha is {options.Alpha}; expected a finite number above 0."));
    }

    /// <summary>Refuses settings that do not fit the adapted maps, before anything is allocated.</summary>
    /// <exception cref="NolaException">A setting does not fit; the message names it.</exception>
    public virtual void Check(AdapterOptions options, IReadOnlyList<MapGroup> groups) { }

    /// <summary>How PEFT's directories have it; null where PEFT does not have the method.</summary>
    internal virtual PeftForm? Peft => null;

    /// <summary>The settings of a file whose values are packed at some bits; the same where the settings do not say that.</summary>
    internal virtual AdapterOptions WithStoredBits(AdapterOptions options, int bits) => options;

    /// <summary>What is trained, in the order of the file: the name of each tensor, and its shape, whose first dimension is L.</summary>
    public abstract IReadOnlyList<(string Name, int[] Shape)> Trained(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups);

    /// <summary>
    /// What is held for the adapted maps, with its initial values; <see cref="DeltaStack.Update"/> has not been called yet. What was
    /// made is disposed when it throws.
    /// </summary>
    public abstract IReadOnlyList<DeltaStack> Create(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups);

    /// <summary>
    /// Makes read-only adapters of one form, each as it is alone, to the bit. A method whose adapters have something in common that is
    /// made anew each time, such as random bases, makes it once for all.
    /// </summary>
    /// <param name="model">The model that they are for.</param>
    /// <param name="contents">What their files say; at least one.</param>
    internal virtual IReadOnlyList<IReadOnlyList<DeltaStack>> Load(IModel model, IReadOnlyList<AdapterContent> contents)
    {
        List<IReadOnlyList<DeltaStack>> all = [];
        using Rollback made = new();
        foreach (AdapterContent content in contents)
        {
            AdapterForm form = content.Form;
            all.Add(content.Create?.Invoke() ?? Create(form.Options, model, form.Groups));
            foreach (DeltaStack stack in all[^1]) made.Add(stack);
            foreach (DeltaStack stack in all[^1])
            {
                foreach (Parameter parameter in stack.Parameters)
                    model.Device.Upload(content.Values(parameter.Name), parameter.Value);
                stack.Update();
                stack.Freeze();
            }
        }
        made.Commit();
        return all;
    }

    /// <summary>Bytes that an adapter made by <see cref="Load"/> takes on its device, without a head of its own.</summary>
    internal virtual long LoadedBytes(AdapterOptions options, IModel model, IReadOnlyList<MapGroup> groups) =>
        sizeof(float) * Adapter.CountOf(Trained(options, model, groups));

    /// <summary>The generator of what is frozen, by an id that a file names; null when everything is trained.</summary>
    public virtual string? Generator => null;

    /// <summary>Proof that what is frozen is what the adapter was trained with; null when everything is trained.</summary>
    public virtual string? Fingerprint(AdapterOptions options, IReadOnlyList<MapGroup> groups) => null;

    /// <summary>Why bases may be others than those that the adapter was trained with, beside damage.</summary>
    internal virtual string OtherBases => "from another generator";

    /// <summary>
    /// For a factor of rank r on each of the maps:
    /// that r is not above the longest side, and that the factors can be held.
    /// </summary>
    /// <exception cref="NolaException">The rank is too large.</exception>
    protected static void CheckFactors(int rank, IReadOnlyList<MapGroup> groups)
    {
        // The product of two factors has no higher rank than its sides are long.
        int longest = groups.Max(group => Math.Max(group.In, group.Out));
        if (rank < 1 || rank > longest)
            throw new NolaException($"rank is {rank}; expected 1 to {longest}, the longest side of the adapted maps.");
        long bytes = 0;
        foreach (MapGroup group in groups)
        {
            long stacked = (long)group.Count * Math.Max(group.In, group.Out) * rank;
            if (stacked > Array.MaxLength)
                throw new NolaException(
                    $"rank is {rank}; with it, a factor of {group.Kind} in {group.Count} layers has {stacked} elements, "
                    + $"and at most {Array.MaxLength} are supported.");
            bytes += (long)group.Count * (group.In + group.Out) * rank * sizeof(float);
        }
        long available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (bytes > available)
            throw new NolaException(
                $"rank is {rank}; with it, the factors take {bytes >> 20} MiB, and this machine has {available >> 20} MiB.");
    }

    /// <summary>For a method that PEFT does not have on embeddings.</summary>
    /// <exception cref="NolaException">A map is a token embedding.</exception>
    private protected void RefuseTokenEmbedding(IReadOnlyList<MapGroup> groups)
    {
        if (groups.FirstOrDefault(group => group.IsLookup) is { } lookup)
            throw new NolaException(
                $"targets: {Title} cannot be on {lookup.Kind}, a token embedding, as PEFT's cannot; leave it out, or use LoRA or NOLA.");
    }

    /// <summary>For a method that draws with PyTorch's generator.</summary>
    /// <exception cref="NolaException">The seed has more bits than the generator reads.</exception>
    private protected void CheckTorchSeed(ulong seed)
    {
        if (seed > uint.MaxValue)
            throw new NolaException($"basis-seed is {seed}; {Title}'s generator reads 32 bits, so expected 0 to {uint.MaxValue}.");
    }

    /// <summary>Makes a stack for each item; those before one that fails are disposed.</summary>
    protected static IReadOnlyList<DeltaStack> ForEach<T>(IEnumerable<T> items, Func<T, DeltaStack> create)
    {
        using Rollback made = new();
        DeltaStack[] stacks = [.. items.Select(item => made.Add(create(item)))];
        made.Commit();
        return stacks;
    }
}

/// <summary>The methods that there are.</summary>
public static class AdapterMethods
{
    private static readonly List<AdapterMethod> known =
    [
        NolaMethod.Instance, LoraMethod.Instance, VeraMethod.Instance,
        LoraXsMethod.Instance, UniLoraMethod.Instance, BeftMethod.Instance,
        FourierFtMethod.Instance, Ia3Method.Instance, VbLoraMethod.Instance, RandLoraMethod.Instance, LoKrMethod.Instance,
        BitFitMethod.Instance, HeadMethod.Instance,
    ];
    private static readonly Lock gate = new();

    /// <summary>All of them.</summary>
    public static IReadOnlyList<AdapterMethod> Known
    {
        get
        {
            lock (gate) return [.. known];
        }
    }

    /// <summary>Adds a method of one's own, at the start of a program.</summary>
    /// <exception cref="ArgumentException">Its name is taken.</exception>
    public static void Add(AdapterMethod method)
    {
        lock (gate)
        {
            if (known.Any(m => m.Name == method.Name))
                throw new ArgumentException($"AdapterMethods.Add: there is a method '{method.Name}' already.");
            known.Add(method);
        }
    }

    /// <summary>The method of a name; null when nothing is called so.</summary>
    public static AdapterMethod? Find(string name) => Known.FirstOrDefault(method => method.Name == name);
}
