using Nola.Tensors;

namespace Nola.Models;

/// <summary>What adapters have in common that differ in their values alone: the settings, and the maps that they are on.</summary>
internal sealed class AdapterForm
{
    /// <summary>A form of settings that fit a model.</summary>
    /// <param name="options">The settings.</param>
    /// <param name="groups">What they adapt of the model.</param>
    public AdapterForm(AdapterOptions options, IReadOnlyList<MapGroup> groups)
    {
        (Options, Groups) = (options, groups);
        IEnumerable<string> settings = options.Method.Options.Select(option => $"{option.Key} {option.Text(options)}");
        Key = string.Join('\n', settings.Prepend(options.Method.Name));
    }

    /// <summary>The settings.</summary>
    public AdapterOptions Options { get; }

    /// <summary>The adapted kinds of map.</summary>
    public IReadOnlyList<MapGroup> Groups { get; }

    /// <summary>The settings as text: adapters of one model that agree in it have the same form.</summary>
    public string Key { get; }
}

/// <summary>A tensor of trained values on the host, as its file has it: float32 or packed codes.</summary>
/// <param name="Name">The parameter's name.</param>
/// <param name="Floats">The values, when they are float32.</param>
/// <param name="Codes">The values, when they are codes.</param>
internal sealed record AdapterTensor(string Name, float[]? Floats, QuantizedTensor? Codes)
{
    /// <summary>Bytes that it takes.</summary>
    public long Bytes => Floats is { } floats ? (long)floats.Length * sizeof(float) : Codes!.Bytes;

    /// <summary>The values.</summary>
    public float[] Values() => Floats ?? Codes!.Values();
}

/// <summary>
/// What a file or a directory says of an adapter, read and checked whole: its settings and its trained values, on the host. Nothing
/// was made of them yet, so that thousands can be kept.
/// </summary>
/// <param name="Form">The settings, and what they adapt.</param>
/// <param name="Tensors">The trained values, in the order of the method.</param>
/// <param name="Digest">A digest of settings and values. 32 hex digits.</param>
internal sealed record AdapterContent(AdapterForm Form, IReadOnlyList<AdapterTensor> Tensors, string Digest)
{
    /// <summary>Makes what is held on a device, where it is not the method's own way.</summary>
    public Func<IReadOnlyList<DeltaStack>>? Create { get; init; }

    /// <summary>Bytes that <see cref="Create"/> keeps.</summary>
    public long FrozenBytes { get; init; }

    /// <summary>Bytes that it takes on the host.</summary>
    public long Bytes => FrozenBytes + Tensors.Sum(tensor => tensor.Bytes);

    /// <summary>The values of a parameter.</summary>
    public float[] Values(string name) => Tensors.First(tensor => tensor.Name == name).Values();

    /// <summary>Takes in the values of settings for a model.</summary>
    /// <exception cref="NolaException">The settings do not fit the model.</exception>
    public static AdapterContent Of(
        IModel model, AdapterOptions options, Func<string, Shape, AdapterTensor> read, params (string Name, float[] Values)[] frozen) =>
        Of(model, new AdapterForm(options, Adapter.Check(model, options)), read, frozen);

    /// <summary>Takes in the values of settings that were found to fit a model.</summary>
    /// <param name="model">The model that they are for.</param>
    /// <param name="form">The settings.</param>
    /// <param name="read">The values of a parameter, by its name and shape.</param>
    /// <param name="frozen">What is frozen and does not follow from the settings, by name.</param>
    public static AdapterContent Of(
        IModel model, AdapterForm form, Func<string, Shape, AdapterTensor> read, params (string Name, float[] Values)[] frozen)
    {
        AdapterOptions options = form.Options;
        AdapterDigest digest = new(options);
        List<AdapterTensor> tensors = [];
        foreach ((string name, int[] shape) in Adapter.TrainedBy(options, model, form.Groups))
        {
            AdapterTensor tensor = read(name, Shape.Create(shape));
            digest.Add(name, tensor.Values());
            tensors.Add(tensor);
        }
        foreach ((string name, float[] values) in frozen) digest.Add(name, values);
        return new(form, tensors, digest.ToString()) { FrozenBytes = frozen.Sum(part => (long)part.Values.Length * sizeof(float)) };
    }
}
