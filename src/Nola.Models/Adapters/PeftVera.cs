using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// PEFT's VeRA: vera_lambda_d (r) and vera_lambda_b (out) for each module, and the projections vera_A (r, max in) and vera_B
/// (max out, r) of all of them, or only the key that they come from.
/// </summary>
internal sealed class PeftVera : PeftForm
{
    public static readonly PeftVera Instance = new();

    private const string A = "base_model.vera_A", B = "base_model.vera_B", Key = "projection_prng_key", Saves = "save_projection";

    private PeftVera() { }

    public override string PeftType => "VERA";

    public override string Plain => "only VeRA without trained biases";

    public override IReadOnlySet<string> Silent { get; } = new HashSet<string> { "vera_dropout", "d_initial", "init_weights" };

    public override IReadOnlySet<string> Understood { get; } = new HashSet<string> { "r", Key, Saves, "bias" };

    public override AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model)
    {
        int rank = config.Rank();
        config.CheckNoBias();
        ulong key = config.Key(Key, 0);
        Dictionary<AdaptableMap, (float[]? D, float[]? B)> found = ReadVectors(tensors, rank);
        tensors.CheckModules(config, found.Keys.ToHashSet(), "vectors");
        VeraOptions options = new() { Rank = rank, Seed = key, Targets = [.. found.Keys.Select(map => map.Name)] };
        IReadOnlyList<MapGroup> groups = Adapter.Check(model, options);
        if (ReadProjections(tensors, options, groups) is not { } own) return tensors.Content(config, options, Read);
        return tensors.Content(config, options, Read, (A, own.A), (B, own.B)) with
        {
            Create = () => VeraMethod.Instance.Create(options, model, groups, own.A, own.B),
        };

        AdapterTensor Read(string name, Shape shape)
        {
            (string kind, bool isD) = (name[..^2], name.EndsWith('d'));
            return new(
                name,
                [.. found.Where(f => f.Key.Kind == kind).OrderBy(f => f.Key.Layer).SelectMany(f => isD ? f.Value.D! : f.Value.B!)],
                null);
        }
    }

    // PEFT adapts whole modules only.
    public override PeftWritten? Write(Adapter adapter)
    {
        VeraOptions options = (VeraOptions)adapter.Options;
        AdaptableMap[] modules = [.. adapter.Groups.SelectMany(group => group.Maps)];
        if (modules.Any(map => !map.IsModule)) return null;
        Dictionary<string, object> config = ConfigOf(PeftType, adapter.Model, modules);
        config["r"] = options.Rank;
        config[Key] = options.Seed;
        config[Saves] = true;
        config["vera_dropout"] = 0.0;
        config["d_initial"] = StrictNumber.Shortest(options.InitialScale);
        config["bias"] = "none";
        (float[] a, float[] b) = ((VeraMethod.Stack)adapter.Stacks[0]).Projections();
        (int inputs, int outputs) = VeraMethod.Sizes(adapter.Groups);
        return new(
            [
                .. adapter.Stacks.OfType<VeraMethod.Stack>().SelectMany(stack => (IEnumerable<SafetensorsTensor>)
                    [
                        .. Rows(stack, 0, adapter.Model, "vera_lambda_d", [options.Rank]),
                        .. Rows(stack, 1, adapter.Model, "vera_lambda_b", [stack.Group.Out]),
                    ]),
                new SafetensorsTensor(A, [options.Rank, inputs], a),
                new SafetensorsTensor(B, [outputs, options.Rank], b),
            ],
            config);
    }

    private static Dictionary<AdaptableMap, (float[]? D, float[]? B)> ReadVectors(PeftTensors tensors, int rank)
    {
        Dictionary<AdaptableMap, (float[]? D, float[]? B)> found = [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("VeRA vector", name => name is A or B))
        {
            bool isD = name == "vera_lambda_d";
            if (!isD && name != "vera_lambda_b")
                throw new NolaException(
                    $"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is not a VeRA vector; expected vera_lambda_d and vera_lambda_b.");
            float[] values = tensors.Values(entry, $"this model and r = {rank}", isD ? rank : map.Out);
            (float[]? d, float[]? b) = found.GetValueOrDefault(map);
            if ((isD ? d : b) is not null)
                throw new NolaException($"{tensors.File.Path}: there are two tensors {name} of {map.Name}; the file is damaged.");
            found[map] = isD ? (values, b) : (d, values);
        }
        foreach ((AdaptableMap map, (float[]? d, float[]? b)) in found)
            if (d is null || b is null)
                throw new NolaException($"{tensors.File.Path}: {map.Name} has only one of vera_lambda_d and vera_lambda_b.");
        return found;
    }

    // Those of the file where it has others than those of its key: another build of PyTorch may draw other last bits.
    private static (float[] A, float[] B)? ReadProjections(PeftTensors tensors, VeraOptions options, IReadOnlyList<MapGroup> groups)
    {
        bool hasA = tensors.File.TryGet(A, out SafetensorsEntry? a), hasB = tensors.File.TryGet(B, out SafetensorsEntry? b);
        if (!hasA && !hasB) return null;
        if (!hasA || !hasB) throw new NolaException($"{tensors.File.Path}: has only one of {A} and {B}; the file is not whole.");
        (int inputs, int outputs) = VeraMethod.Sizes(groups);
        string why = $"the adapted maps and r = {options.Rank}";
        float[] ownA = tensors.Values(a!, why, options.Rank, inputs), ownB = tensors.Values(b!, why, outputs, options.Rank);
        (float[] drawnA, float[] drawnB) = VeraMethod.Projections(options, groups);
        return ownA.AsSpan().SequenceEqual(drawnA) && ownB.AsSpan().SequenceEqual(drawnB) ? null : (ownA, ownB);
    }
}
