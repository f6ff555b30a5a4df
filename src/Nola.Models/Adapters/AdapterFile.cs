using System.Globalization;
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
    internal const string QuantisedFormat = "nola-adapter/2";

    /// <summary>Writes an adapter: float32, or packed when it was trained with rounded coefficients.</summary>
    /// <exception cref="NolaException">The file cannot be written.</exception>
    public static void Save(Adapter adapter, string path)
    {
        int bits = BitsOf(adapter);
        SafetensorsWriter.Write(
            path,
            bits == 0
                ? adapter.Parameters.Select(p => new SafetensorsTensor(p.Name, DType.Float32, p.Shape, p.Value.ToArray))
                : adapter.Parameters.SelectMany(p => QuantisedTensor.Of(p.Value.ToArray(), p.Shape[0], bits).Tensors(p.Name)),
            Metadata(adapter));
    }

    /// <summary>
    /// Puts the adapter of a Nola file, or of a Hugging Face PEFT LoRA directory, on a model. When it fails, the model is as it was.
    /// </summary>
    /// <exception cref="NolaException">It is of another base model or generator, contradicts itself, or is not an adapter.</exception>
    public static Adapter Load(string path, Gpt2 model)
    {
        if (Directory.Exists(path)) return PeftLora.Load(path, model);
        if (!File.Exists(path)) throw new NolaException($"{path}: there is no such adapter; expected a Nola adapter file or a PEFT LoRA directory.");
        using Safetensors file = Safetensors.Open(path);
        AdapterSettings settings = new(file);
        CheckBase(settings, model, path);
        settings.Check(model.Config, file);
        Adapter adapter = settings.Attach(model);
        try
        {
            if (adapter is NolaAdapter nola && nola.Fingerprint != settings.Fingerprint)
                throw new NolaException(
                    $"{path}: the fingerprint of its bases is {Quoted.Of(settings.Fingerprint)} and this machine generates "
                    + $"{nola.Fingerprint}; the file is damaged or from another generator.");
            foreach (Parameter parameter in adapter.Parameters)
                model.Device.Upload(Values(file, parameter, settings.Bits), parameter.Value);
            adapter.BeginStep();
            return adapter;
        }
        catch
        {
            adapter.Dispose();
            throw;
        }
    }

    /// <summary>Every setting of an adapter, as the file holds it.</summary>
    public static IReadOnlyDictionary<string, string> Metadata(Adapter adapter)
    {
        int bits = BitsOf(adapter);
        Dictionary<string, string> data = new()
        {
            ["format"] = bits == 0 ? Format : QuantisedFormat,
            ["rank"] = Text(adapter.Rank),
            ["alpha"] = Text(adapter.Alpha),
            ["targets"] = string.Join(',', adapter.Targets),
            ["base_model"] = adapter.Model.Source,
            ["base_identity"] = adapter.Model.Identity,
        };
        foreach ((MapKind kind, IReadOnlyList<int> layers) in adapter.AdaptedMaps) data["layers." + kind.Name()] = string.Join(',', layers);
        if (bits > 0) (data["bits"], data["values"]) = (Text(bits), Text(adapter.ParameterCount));
        if (adapter is not NolaAdapter nola)
        {
            data["method"] = "lora";
            return data;
        }
        data["method"] = "nola";
        data["variant"] = Lower(nola.Options.Variant);
        data["entries"] = Lower(nola.Options.Entries);
        data["sharing"] = nola.Options.PerLayer ? "per-layer" : "shared";
        data["bases_a"] = Text(nola.Options.BasesA);
        data["bases_b"] = Text(nola.Options.BasesB);
        data["seed"] = Text(nola.Options.Seed);
        data["generator"] = RandomBasis.GeneratorId;
        data["fingerprint"] = nola.Fingerprint;
        return data;
    }

    private static void CheckBase(AdapterSettings settings, Gpt2 model, string path)
    {
        bool old = ModelIdentity.IsSampled(settings.BaseIdentity);
        string here = old ? model.SampledIdentity : model.Identity;
        if (settings.BaseIdentity != here)
            throw new NolaException(
                $"{path}: this adapter is for the "
                + $"base model {Quoted.Of(settings.BaseModel)} (identity {Quoted.Of(settings.BaseIdentity)}), "
                + $"and the loaded model {Quoted.Of(model.Source)} is another one ('{here}'); load the model that it was trained on.");
        // The old identity may not see what was merged.
        if (old && model.IsMerged)
            throw new NolaException(
                $"{path}: this adapter is from an earlier version, which cannot tell a model before a merge from the one after it; "
                + $"load {Quoted.Of(model.Source)} anew.");
    }

    private static int BitsOf(Adapter adapter) => (adapter as NolaAdapter)?.Options.QuantiseBits ?? 0;

    private static float[] Values(Safetensors file, Parameter parameter, int bits) => bits > 0
        ? QuantisedTensor.Read(file, parameter.Name, parameter.Shape, bits).Values()
        : file.ReadFinite(file.Get(parameter.Name));

    private static string Text(IFormattable number) => number.ToString(null, CultureInfo.InvariantCulture);

    private static string Lower<T>(T value) where T : struct, Enum => value.ToString().ToLowerInvariant();
}
