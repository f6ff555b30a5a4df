using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// PEFT's FourierFT: fourierft_spectrum (n) for each module. The places of the coefficients are never saved; they follow from
/// random_loc_seed and the module's shape.
/// </summary>
internal sealed class PeftFourierFt : PeftForm
{
    public static readonly PeftFourierFt Instance = new();

    private const string Spectrum = "fourierft_spectrum", Count = "n_frequency", Scaling = "scaling", Seed = "random_loc_seed";

    // What versions after 0.17 write; their other choices scale the transform.
    private const string Norm = "ifft2_norm";

    private PeftFourierFt() { }

    public override string PeftType => "FOURIERFT";

    public override string Plain => "only FourierFT with one number of frequencies for all maps and without trained biases";

    public override IReadOnlySet<string> Silent { get; } = new HashSet<string> { "init_weights" };

    public override IReadOnlySet<string> Understood { get; } = new HashSet<string> { Count, Scaling, Seed, Norm, "bias" };

    public override AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model)
    {
        config.CheckNoBias();
        if (config.Given(Norm) is { } norm && config.Text(norm, Norm) != "backward") throw config.Bad(Norm, "'backward'");
        FourierFtOptions plain = new();
        int count = config.Count(Count, plain.Frequencies);
        float scaling = config.Positive(Scaling, plain.Scaling);
        Dictionary<AdaptableMap, float[]> found = [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("FourierFT spectrum", _ => false))
        {
            if (name != Spectrum)
                throw new NolaException(
                    $"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is not a FourierFT spectrum; expected {Spectrum}.");
            if (!found.TryAdd(map, tensors.Values(entry, $"{Count} = {count}", count)))
                throw new NolaException($"{tensors.File.Path}: there are two tensors {name} of {map.Name}; the file is damaged.");
        }
        tensors.CheckModules(config, found.Keys.ToHashSet(), "spectra");
        FourierFtOptions options = plain with
        {
            Frequencies = count,
            Scaling = scaling,
            Seed = config.Key(Seed, plain.Seed),
            Targets = [.. found.Keys.Select(map => map.Name)],
        };
        return tensors.Content(config, options, (name, _) => new(name, Stacked(found, name[..^2]), null));
    }

    public override PeftWritten Write(Adapter adapter)
    {
        FourierFtOptions options = (FourierFtOptions)adapter.Options;
        IReadOnlyList<AdaptableMap> modules = WholeModules(adapter);
        Dictionary<string, object> config = ConfigOf(PeftType, adapter.Model, modules);
        config[Count] = options.Frequencies;
        config[Scaling] = StrictNumber.Shortest(options.Scaling);
        config[Seed] = options.Seed;
        config["init_weights"] = options.Start == FourierFtStart.Zero;
        config["bias"] = "none";
        IEnumerable<MapStack> stacks = adapter.Stacks.OfType<MapStack>();
        return new(stacks.SelectMany(stack => Rows(stack, 0, adapter.Model, Spectrum, [options.Frequencies])), config);
    }
}
