using System.Collections.Concurrent;
using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// How an adapter travels: a safetensors file whose metadata holds every setting, the seed, the generator's id, the basis's
/// fingerprint and the identity of the base model, and whose tensors are only what was trained: <c>attn.q.A</c> (L, k) for
/// NOLA, (L, in, r) for LoRA; or the same rounded to a few bits and packed. Specified in docs/adapter-file.md.
/// </summary>
public static class AdapterFile
{
    /// <summary>The format of a file whose tensors are float32.</summary>
    internal const string Format = "nola-adapter/1";

    /// <summary>The format of a file whose tensors are packed codes.</summary>
    internal const string QuantizedFormat = "nola-adapter/2";

    /// <summary>Writes an adapter: float32, or packed when it was trained with rounded coefficients.</summary>
    /// <exception cref="NolaException">The file cannot be written.</exception>
    public static void Save(TrainableAdapter adapter, string path)
    {
        int bits = adapter.Options.StoredBits;
        HashSet<Parameter> heads = [.. adapter.HeadParameters];
        SafetensorsWriter.Write(path, adapter.Parameters.SelectMany(Tensors), AdapterSettings.Of(adapter, bits));

        // A head is never rounded.
        IEnumerable<SafetensorsTensor> Tensors(Parameter p) => bits == 0 || heads.Contains(p)
            ? [new SafetensorsTensor(p.Name, DType.Float32, p.Shape, p.Value.ToArray)]
            : QuantizedTensor.Of(p.Value.ToArray(), p.Shape[0], bits).Tensors(p.Name);
    }

    /// <summary>Reads the adapter of a Nola file, or of a Hugging Face PEFT directory, for a model.</summary>
    /// <param name="path">A file; a joint file, a colon and a task (<see cref="TaskFile"/>); or a directory.</param>
    /// <param name="model">The model that it was trained on.</param>
    /// <exception cref="NolaException">It is of another base model or generator, contradicts itself, or is not an adapter.</exception>
    public static LoadedAdapter Load(string path, IModel model) => LoadedAdapter.Of(model, Read(path, model, new(model)));

    /// <summary>Reads the adapter of a Nola file to train it further.</summary>
    /// <param name="path">A file.</param>
    /// <param name="model">The model that it was trained on.</param>
    /// <exception cref="NolaException">It is of another base model or generator, contradicts itself, or is not an adapter.</exception>
    public static TrainableAdapter LoadTrainable(string path, IModel model)
    {
        AdapterContent content = ReadFile(path, model, new(model));
        return TrainableAdapter.Of(model, content.Form.Options, parameter => content.Values(parameter.Name));
    }

    /// <summary>Reads and checks a Nola file, or a PEFT directory, and makes nothing of it.</summary>
    /// <param name="path">A file or a directory.</param>
    /// <param name="model">The model that it was trained on.</param>
    /// <param name="identity">The model's.</param>
    /// <exception cref="NolaException">It is of another base model or generator, contradicts itself, or is not an adapter.</exception>
    internal static AdapterContent Read(string path, IModel model, BaseIdentity identity) =>
        Directory.Exists(path) ? PeftFiles.Read(path, model) : ReadFile(path, model, identity);

    private static AdapterContent ReadFile(string path, IModel model, BaseIdentity identity)
    {
        using Safetensors file = TaskFile.Open(path);
        AdapterSettings settings = new(file);
        CheckBase(settings, model, identity, path);
        string metadata = settings.Metadata;
        AdapterForm form = settings.Check(model, file, identity.Forms.GetValueOrDefault(metadata));
        identity.Forms[metadata] = form;
        return AdapterContent.Of(model, form, (name, shape) => settings.Bits > 0 && !HeadStack.IsOf(name)
            ? new(name, null, QuantizedTensor.Read(file, name, shape, settings.Bits))
            : new(name, file.ReadFinite(file.Get(name)), null));
    }

    /// <summary>Refuses what is no file, for what reads files of Nola alone.</summary>
    /// <exception cref="NolaException">It is a directory, or is not there.</exception>
    internal static void CheckFile(string path)
    {
        if (Directory.Exists(path))
            throw new NolaException($"{path}: a directory; give an adapter file of Nola, such as a run's adapter.safetensors.");
        if (!File.Exists(path)) throw new NolaException($"{path}: there is no such adapter.");
    }

    /// <summary>Every setting of an adapter, as its file holds it.</summary>
    public static IReadOnlyDictionary<string, string> Metadata(Adapter adapter) => AdapterSettings.Of(adapter, adapter.Options.StoredBits);

    /// <summary>
    /// What the classes of an adapter's own classifier are called, so that a model can be loaded with as many: of a Nola file, or of a
    /// PEFT directory, which only says how many they are. Null where it has no classifier.
    /// </summary>
    /// <param name="path">A file or a directory.</param>
    /// <exception cref="NolaException">It is no adapter, or does not say its classes as adapters do.</exception>
    public static IReadOnlyList<string>? Labels(string path)
    {
        if (Directory.Exists(path)) return PeftFiles.Labels(path);
        using Safetensors file = TaskFile.Open(path);
        return AdapterSettings.LabelsOf(file);
    }

    private static void CheckBase(AdapterSettings settings, IModel model, BaseIdentity identity, string path)
    {
        bool old = ModelIdentity.IsSampled(settings.BaseIdentity);
        string here = old ? identity.Sampled : identity.Whole;
        if (settings.BaseIdentity != here)
            throw new NolaException(
                $"{path}: this adapter is for the "
                + $"base model {Quoted.Of(settings.BaseModel)} (identity {Quoted.Of(settings.BaseIdentity)}), "
                + $"and the loaded model {Quoted.Of(model.Source)} is another one ('{here}'); load the model that it was trained on.");
        // The old identity may not see what was merged.
        if (old && model.AdaptableMaps.Any(map => map.Host.IsReplaced))
            throw new NolaException(
                $"{path}: this adapter is from an earlier version, which cannot tell a model before a merge from the one after it; "
                + $"load {Quoted.Of(model.Source)} again.");
    }
}

/// <summary>What files name a model by, and what those that were read have in common: known once when many files are read.</summary>
internal sealed class BaseIdentity(IModel model)
{
    private readonly Lazy<string> whole = new(() => model.Identity), sampled = new(() => model.SampledIdentity);

    /// <summary>Forms of files that were read, by their metadata.</summary>
    public ConcurrentDictionary<string, AdapterForm> Forms { get; } = new();

    /// <summary>The digest of every value of every weight.</summary>
    public string Whole => whole.Value;

    /// <summary>The digest of earlier versions.</summary>
    public string Sampled => sampled.Value;
}
