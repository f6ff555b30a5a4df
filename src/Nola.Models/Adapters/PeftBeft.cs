using Nola.Tensors;

namespace Nola.Models;

/// <summary>PEFT's BEFT: beft_bias (1, out) for each module. PEFT has it on Linear modules alone, and so not on those of GPT-2.</summary>
internal sealed class PeftBeft : PeftForm
{
    public static readonly PeftBeft Instance = new();

    private const string Bias = "beft_bias";

    private PeftBeft() { }

    public override string PeftType => "BEFT";

    public override string Plain => "only BEFT";

    public override IReadOnlySet<string> Silent { get; } = new HashSet<string> { "init_weights" };

    public override IReadOnlySet<string> Understood { get; } = new HashSet<string>();

    public override AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model)
    {
        Dictionary<AdaptableMap, float[]> found = [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("BEFT bias", _ => false))
            if (name != Bias || !found.TryAdd(map, tensors.Values(entry, "this model's maps", 1, map.Out)))
                throw new NolaException(
                    $"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is not a BEFT bias; expected {Bias} once for each module.");
        tensors.CheckModules(config, found.Keys.ToHashSet(), "biases");
        BeftOptions options = new() { Targets = [.. found.Keys.Select(map => map.Name)] };
        return tensors.Content(config, options, (name, _) => new(
            name, [.. found.Where(f => f.Key.Kind == name[..^2]).OrderBy(f => f.Key.Layer).SelectMany(f => f.Value)], null));
    }

    public override PeftWritten Write(Adapter adapter)
    {
        AdaptableMap[] modules = [.. adapter.Groups.SelectMany(group => group.Maps)];
        if (modules.FirstOrDefault(map => !map.IsModule || !map.Transposed) is { } other)
            throw new NolaException(
                $"PeftFiles.Save: PEFT's BEFT is on modules of the class Linear, and {other.Name} is none; "
                + "save it as a Nola adapter file.");
        Dictionary<string, object> config = ConfigOf(PeftType, adapter.Model, modules);
        config.Remove("fan_in_fan_out");
        return new(adapter.Stacks.OfType<BeftMethod.Stack>().SelectMany(stack => Biases(stack, adapter.Model)), config);
    }

    private static IEnumerable<SafetensorsTensor> Biases(BeftMethod.Stack stack, IModel model)
    {
        float[] all = stack.Parameters[0].Value.ToArray();
        int length = stack.Group.Out;
        return stack.Group.Maps.Select((map, row) => new SafetensorsTensor(
            $"base_model.model.{FullName(model, map)}.{Bias}", [1, length], all[(row * length)..((row + 1) * length)]));
    }
}
