using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// PEFT's RandLoRA: randlora_lambda (r, b) and randlora_gamma (b, shorter side) for each module, and the bases randlora_A (r, 1, M) and
/// randlora_B (N, ⌈M / r⌉, r) of all of them, which PEFT repeats under every module, or only the key that they come from.
/// </summary>
internal sealed class PeftRandLora : PeftForm
{
    public static readonly PeftRandLora Instance = new();

    private const string Lambda = "randlora_lambda", Gamma = "randlora_gamma", Root = "base_model.", A = "randlora_A", B = "randlora_B";
    private const string Alpha = "randlora_alpha", Key = "projection_prng_key", Saves = "save_projection";

    private PeftRandLora() { }

    public override string PeftType => "RANDLORA";

    public override string Plain => "only RandLoRA with dense bases and without trained biases";

    public override IReadOnlySet<string> Silent { get; } = new HashSet<string> { "randlora_dropout", "init_weights" };

    public override IReadOnlySet<string> Understood { get; } = new HashSet<string> { "r", Alpha, Key, Saves, "bias" };

    public override AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model)
    {
        config.CheckNoBias();
        int rank = config.Rank();
        float alpha = config.Number(Alpha) is { } text && StrictNumber.TryReal(text, out float number) && number > 0
            ? number
            : throw config.Bad(Alpha, "a finite number above 0");
        Dictionary<AdaptableMap, float[]> lambdas = [], gammas = [];
        List<SafetensorsEntry> copies = [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("RandLoRA tensor", IsCommon))
        {
            int side = Math.Min(map.In, map.Out), bases = RandLoraMethod.Bases(side, rank);
            if (name is A or B)
            {
                copies.Add(entry);
                continue;
            }
            if (name is not (Lambda or Gamma))
                throw new NolaException(
                    $"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is not of RandLoRA; expected {Lambda} and {Gamma}.");
            bool isLambda = name == Lambda;
            string why = $"this model and r = {rank}";
            float[] values = isLambda ? tensors.Values(entry, why, rank, bases) : tensors.Values(entry, why, bases, side);
            if (!(isLambda ? lambdas : gammas).TryAdd(map, values))
                throw new NolaException($"{tensors.File.Path}: there are two tensors {name} of {map.Name}; the file is damaged.");
        }
        HashSet<AdaptableMap> found = [.. lambdas.Keys, .. gammas.Keys];
        if (found.FirstOrDefault(map => !lambdas.ContainsKey(map) || !gammas.ContainsKey(map)) is { } half)
            throw new NolaException($"{tensors.File.Path}: {half.Name} has only one of {Lambda} and {Gamma}.");
        tensors.CheckModules(config, found, "vectors");
        RandLoraOptions options =
            new() { Rank = rank, Alpha = alpha, Seed = config.Key(Key, 0), Targets = [.. found.Select(map => map.Name)] };
        IReadOnlyList<MapGroup> groups = Adapter.Check(model, options);
        if (ReadBases(tensors, options, groups, copies) is not { } own) return tensors.Content(config, options, Read);
        return tensors.Content(config, options, Read, (A, own.A), (B, own.B)) with
        {
            Create = () => RandLoraMethod.Instance.Create(options, model, groups, own),
        };

        bool IsCommon(string name) => name is Root + A or Root + B;

        AdapterTensor Read(string name, Shape shape)
        {
            int dot = name.LastIndexOf('.');
            return new(name, Stacked(name[dot..] == ".lambda" ? lambdas : gammas, name[..dot]), null);
        }
    }

    public override PeftWritten Write(Adapter adapter)
    {
        RandLoraOptions options = (RandLoraOptions)adapter.Options;
        Dictionary<string, object> config = ConfigOf(PeftType, adapter.Model, WholeModules(adapter));
        config["r"] = options.Rank;
        config[Alpha] = StrictNumber.Shortest(options.Alpha);
        config[Key] = options.Seed;
        config[Saves] = true;
        config["sparse"] = false;
        config["very_sparse"] = false;
        config["randlora_dropout"] = 0.0;
        config["bias"] = "none";
        (float[] a, float[] b) = ((RandLoraMethod.Stack)adapter.Stacks[0]).Bases.Values(options, adapter.Groups);
        (int shorter, int longer) = RandLoraMethod.Sizes(adapter.Groups);
        return new(
            [
                .. adapter.Stacks.OfType<RandLoraMethod.Stack>().SelectMany(stack => (IEnumerable<SafetensorsTensor>)
                    [
                        .. Rows(stack, 0, adapter.Model, Lambda, [stack.Parameters[0].Shape[1], stack.Parameters[0].Shape[2]]),
                        .. Rows(stack, 1, adapter.Model, Gamma, [stack.Parameters[1].Shape[1], stack.Parameters[1].Shape[2]]),
                    ]),
                new SafetensorsTensor(Root + A, [options.Rank, 1, shorter], a),
                new SafetensorsTensor(Root + B, [longer, RandLoraMethod.Bases(shorter, options.Rank), options.Rank], b),
            ],
            config);
    }

    // Those of the file where it has others than those of its key, as of PEFT on a machine without bfloat16.
    private static (float[] A, float[] B)? ReadBases(
        PeftTensors tensors, RandLoraOptions options, IReadOnlyList<MapGroup> groups, IReadOnlyList<SafetensorsEntry> copies)
    {
        bool hasA = tensors.File.TryGet(Root + A, out SafetensorsEntry? a), hasB = tensors.File.TryGet(Root + B, out SafetensorsEntry? b);
        if (hasA != hasB || (!hasA && copies.Count > 0))
            throw new NolaException(
                $"{tensors.File.Path}: has {(hasA ? "only " + Root + A : hasB ? "only " + Root + B : Quoted.Of(copies[0].Name))} and not "
                + $"both {Root + A} and {Root + B}; the file is not whole.");
        if (!hasA) return null;
        (int shorter, int longer) = RandLoraMethod.Sizes(groups);
        string why = $"the adapted maps and r = {options.Rank}";
        int bases = RandLoraMethod.Bases(shorter, options.Rank);
        float[] ownA = tensors.Values(a!, why, options.Rank, 1, shorter), ownB = tensors.Values(b!, why, longer, bases, options.Rank);
        foreach (SafetensorsEntry copy in copies)
        {
            bool isA = copy.Name.EndsWith(A, StringComparison.Ordinal);
            float[] values = isA
                ? tensors.Values(copy, why, options.Rank, 1, shorter)
                : tensors.Values(copy, why, longer, bases, options.Rank);
            if (!values.AsSpan().SequenceEqual(isA ? ownA : ownB))
                throw new NolaException(
                    $"{tensors.File.Path}: tensor {Quoted.Of(copy.Name)} has other values than {Root}{(isA ? A : B)}; "
                    + "the file is damaged.");
        }
        (float[] drawnA, float[] drawnB) = RandLoraMethod.Projections(options, groups);
        return ownA.AsSpan().SequenceEqual(drawnA) && ownB.AsSpan().SequenceEqual(drawnB) ? null : (ownA, ownB);
    }
}
