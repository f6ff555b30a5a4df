using Nola.Tensors;

namespace Nola.Models;

/// <summary>PEFT's IA3: ia3_l for each module, (1, in) where its inputs are multiplied and (out, 1) where its outputs are.</summary>
internal sealed class PeftIa3 : PeftForm
{
    public static readonly PeftIa3 Instance = new();

    private const string Vector = "ia3_l", FeedForward = "feedforward_modules";

    private PeftIa3() { }

    public override string PeftType => "IA3";

    public override string Plain => "only plain IA3";

    public override IReadOnlySet<string> Silent { get; } = new HashSet<string> { "init_ia3_weights" };

    public override IReadOnlySet<string> Understood { get; } = new HashSet<string> { FeedForward };

    public override AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model)
    {
        Dictionary<AdaptableMap, float[]> found = [];
        List<string> feeds = [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("IA3 vector", _ => false))
        {
            if (name != Vector)
                throw new NolaException($"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is not an IA3 vector; expected {Vector}.");
            bool ofInputs = config.Given(FeedForward) is null
                ? entry.Shape is [1, _]
                : config.IsFeedForward(FeedForward, PeftTensors.FullName(tensors.Prefix, map));
            float[] values = ofInputs
                ? tensors.Values(entry, $"this model and {FeedForward}", 1, map.In)
                : tensors.Values(entry, $"this model and {FeedForward}", map.Out, 1);
            if (!found.TryAdd(map, values))
                throw new NolaException($"{tensors.File.Path}: there are two tensors {name} of {map.Name}; the file is damaged.");
            if (ofInputs) feeds.Add(map.Name);
        }
        tensors.CheckModules(config, found.Keys.ToHashSet(), "vectors");
        Ia3Options options = new() { Targets = [.. found.Keys.Select(map => map.Name)], FeedForward = feeds };
        return tensors.Content(config, options, (name, _) => new(name, Stacked(found, name[..^2]), null));
    }

    public override PeftWritten Write(Adapter adapter)
    {
        IReadOnlyList<AdaptableMap> modules = WholeModules(adapter);
        Dictionary<string, object> config = ConfigOf(PeftType, adapter.Model, modules);
        Ia3Method.Stack[] stacks = [.. adapter.Stacks.OfType<Ia3Method.Stack>()];
        AdaptableMap[] feeds = [.. stacks.Where(stack => stack.OfInputs).SelectMany(stack => stack.Group.Maps)];
        string[] all = [.. modules.Select(Full)], kinds = [.. feeds.Select(map => map.Kind).Distinct()];
        // PEFT wants them to be some of the targets, and means every module whose name ends so.
        bool clear = kinds.All(((string[])config["target_modules"]).Contains)
            && modules.Except(feeds).All(map => !kinds.Any(kind => Full(map).EndsWith(kind, StringComparison.Ordinal)));
        if (!clear) config["target_modules"] = all;
        config[FeedForward] = clear ? kinds : feeds.Select(Full).ToArray();
        config["init_ia3_weights"] = true;
        return new(
            stacks.SelectMany(stack => Rows(
                stack, 0, adapter.Model, Vector, stack.OfInputs ? [1, stack.Group.In] : [stack.Group.Out, 1])), config);

        string Full(AdaptableMap map) => FullName(adapter.Model, map);
    }
}
