using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// PEFT's LoKr: for each module lokr_w1 (l, m), and lokr_w2 (k, n) or lokr_w2_a (k, r) and lokr_w2_b (r, n). PEFT has it on
/// torch's Linear alone, not on GPT-2's transposed modules.
/// </summary>
internal sealed class PeftLoKr : PeftForm
{
    public static readonly PeftLoKr Instance = new();

    private const string First = "lokr_w1", Second = "lokr_w2", SecondA = "lokr_w2_a", SecondB = "lokr_w2_b";

    private const string Factor = "decompose_factor", Alpha = "alpha";

    private PeftLoKr() { }

    public override string PeftType => "LOKR";

    public override string Plain => "only LoKr with one rank for all maps and with w1 whole";

    // Dropout and what is for convolutions.
    public override IReadOnlySet<string> Silent { get; } = new HashSet<string>
    {
        "rank_dropout", "rank_dropout_scale", "module_dropout", "use_effective_conv2d", "init_weights",
    };

    public override IReadOnlySet<string> Understood { get; } = new HashSet<string> { "r", Alpha, Factor };

    public override AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model)
    {
        LoKrOptions options = new();
        options = options with { Rank = config.Rank(), Alpha = config.Positive(Alpha, options.Alpha), Factor = ReadFactor(config) };
        Dictionary<AdaptableMap, Dictionary<string, SafetensorsEntry>> found = [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("LoKr factor", _ => false))
        {
            if (name is not (First or Second or SecondA or SecondB))
                throw new NolaException(
                    $"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is not a LoKr factor; expected {First}, and {Second} or "
                    + $"{SecondA} and {SecondB}.");
            if (!found.TryGetValue(map, out Dictionary<string, SafetensorsEntry>? own)) found[map] = own = [];
            if (!own.TryAdd(name, entry))
                throw new NolaException($"{tensors.File.Path}: there are two tensors {name} of {map.Name}; the file is damaged.");
        }
        tensors.CheckModules(config, found.Keys.ToHashSet(), "factors");
        options = options with { Targets = [.. found.Keys.Select(map => map.Name)] };
        Adapter.Check(model, options);
        Dictionary<string, Dictionary<AdaptableMap, float[]>> values = [];
        foreach ((AdaptableMap map, Dictionary<string, SafetensorsEntry> own) in found)
        {
            foreach ((string ours, string theirs, int rows, int columns) in Parts(map, options))
            {
                if (!own.Remove(theirs, out SafetensorsEntry? entry))
                    throw new NolaException(
                        $"{tensors.File.Path}: has no {theirs} of {map.Name}, which r = {options.Rank} and {Factor} = {options.Factor} "
                        + "ask for; the file is not whole, or of other settings.");
                float[] read = tensors.Values(entry, $"this model, r = {options.Rank} and {Factor} = {options.Factor}", columns, rows);
                if (!values.TryGetValue(ours, out Dictionary<AdaptableMap, float[]>? all)) values[ours] = all = [];
                all[map] = HostMatrix.Transpose(read, columns, rows);
            }
            if (own.Count > 0)
                throw new NolaException(
                    $"{tensors.File.Path}: has {own.Keys.First()} of {map.Name}, which r = {options.Rank} and {Factor} = {options.Factor} "
                    + "do not ask for.");
        }
        return tensors.Content(config, options, (name, _) =>
        {
            int dot = name.LastIndexOf('.');
            return new(name, Stacked(values[name[dot..]], name[..dot]), null);
        });
    }

    public override PeftWritten Write(Adapter adapter)
    {
        LoKrOptions options = (LoKrOptions)adapter.Options;
        IReadOnlyList<AdaptableMap> modules = WholeModules(adapter);
        if (modules.FirstOrDefault(map => !map.Transposed) is { } other)
            throw new NolaException(
                $"PeftFiles.Save: PEFT's LoKr is on Linear modules, and {other.Name} is a Conv1D; save it as a Nola adapter file.");
        Dictionary<string, object> config = ConfigOf(PeftType, adapter.Model, modules);
        // Not among the settings of this one.
        config.Remove("fan_in_fan_out");
        config["r"] = options.Rank;
        config[Alpha] = StrictNumber.Shortest(options.Alpha);
        config[Factor] = options.Factor;
        config["decompose_both"] = false;
        return new(adapter.Stacks.OfType<LoKrMethod.Stack>().SelectMany(stack => Tensors(stack, adapter.Model, options)), config);
    }

    private static IEnumerable<SafetensorsTensor> Tensors(LoKrMethod.Stack stack, IModel model, LoKrOptions options)
    {
        int parameter = 0;
        foreach ((_, string theirs, int rows, int columns) in Parts(stack.Group.Maps[0], options))
        {
            float[] all = stack.Parameters[parameter++].Value.ToArray();
            for (int row = 0; row < stack.Group.Count; row++)
                yield return new SafetensorsTensor(
                    $"base_model.model.{FullName(model, stack.Group.Maps[row])}.{theirs}", [columns, rows],
                    HostMatrix.Transpose(all[(row * rows * columns)..((row + 1) * rows * columns)], rows, columns));
        }
    }

    // Our factors are of (in, out), PEFT's of (out, in): each is a transpose, and A and B change places.
    private static IEnumerable<(string Ours, string Theirs, int Rows, int Columns)> Parts(AdaptableMap map, LoKrOptions options)
    {
        (int m, int n, int l, int k, bool isWhole) = LoKrMethod.Sides.Of(map.In, map.Out, options);
        yield return (".w1", First, m, l);
        if (isWhole) yield return (".w2", Second, n, k);
        else
        {
            yield return (".A", SecondB, n, options.Rank);
            yield return (".B", SecondA, options.Rank, k);
        }
    }

    private static int ReadFactor(PeftConfig config)
    {
        int factor = -1;
        if (config.Given(Factor) is not null
            && !(config.Number(Factor) is { } text && StrictNumber.TryWhole(text, out factor) && factor is -1 or >= 1))
            throw config.Bad(Factor, "a whole number from 1, or -1");
        return factor;
    }
}
