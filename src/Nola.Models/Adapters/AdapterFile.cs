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
    /// Puts the adapter of a Nola file, or of a Hugging Face PEFT LoRA directory, on a model.
    /// </summary>
    /// <exception cref="NolaException">It is of another base model or generator, or is not an adapter.</exception>
    public static Adapter Load(string path, Gpt2 model)
    {
        if (Directory.Exists(path)) return PeftLora.Load(path, model);
        if (!File.Exists(path)) throw new NolaException($"{path}: there is no such adapter; expected a Nola adapter file or a PEFT LoRA directory.");
        using Safetensors file = Safetensors.Open(path);
        Settings settings = new(file.Metadata, path);
        int bits = settings.Text("format") switch
        {
            Format => 0,
            QuantisedFormat => settings.Bits("bits"),
            string other => throw new NolaException($"{path}: its format is '{other}' and this version reads '{Format}' and '{QuantisedFormat}'."),
        };
        string identity = settings.Text("base_identity");
        if (identity != model.Identity)
            throw new NolaException($"{path}: this adapter is for the base model '{settings.Text("base_model")}' (identity {identity}), and the loaded model '{model.Source}' is another one ({model.Identity}); give the right --model.");
        Adapter adapter = Attach(settings, bits, model, path);
        try
        {
            foreach (Parameter parameter in adapter.Parameters) Fill(file, parameter, bits);
        }
        catch
        {
            adapter.Dispose();
            throw;
        }
        adapter.BeginStep();
        return adapter;
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

    private static Adapter Attach(Settings settings, int bits, Gpt2 model, string path)
    {
        string[] targets = settings.Text("targets").Split(',');
        if (settings.Text("method") == "lora")
            return LoraAdapter.Attach(model, new LoraOptions { Rank = settings.Whole("rank"), Alpha = settings.Real("alpha"), Targets = targets });
        if (settings.Text("method") != "nola") throw new NolaException($"{path}: its method is '{settings.Text("method")}'; expected nola or lora.");
        if (settings.Text("generator") != RandomBasis.GeneratorId)
            throw new NolaException($"{path}: its bases come from generator '{settings.Text("generator")}' and this version has '{RandomBasis.GeneratorId}'; use the version of nola that wrote it.");
        NolaAdapter adapter = NolaAdapter.Attach(model, new NolaOptions
        {
            Rank = settings.Whole("rank"),
            Alpha = settings.Real("alpha"),
            Targets = targets,
            BasesA = settings.Whole("bases_a"),
            BasesB = settings.Whole("bases_b"),
            Seed = settings.Seed("seed"),
            Entries = settings.Choice<BasisEntries>("entries"),
            Variant = settings.Choice<NolaVariant>("variant"),
            PerLayer = settings.Text("sharing") == "per-layer",
            QuantiseBits = bits,
        });
        if (adapter.Fingerprint == settings.Text("fingerprint")) return adapter;
        string here = adapter.Fingerprint;
        adapter.Dispose();
        throw new NolaException($"{path}: the fingerprint of its bases is {settings.Text("fingerprint")} and this machine generates {here}; the file is damaged or from another generator.");
    }

    private static int BitsOf(Adapter adapter) => (adapter as NolaAdapter)?.Options.QuantiseBits ?? 0;

    private static void Fill(Safetensors file, Parameter parameter, int bits)
    {
        if (bits > 0)
        {
            parameter.Value.Device.Upload(QuantisedTensor.Read(file, parameter.Name, parameter.Shape, bits).Values(), parameter.Value);
            return;
        }
        SafetensorsEntry entry = file.Get(parameter.Name);
        if (!entry.Shape.SequenceEqual(parameter.Shape.Dimensions().Select(d => (long)d)))
            throw new NolaException($"{file.Path}: '{entry.Name}' has shape [{string.Join(", ", entry.Shape)}] where its settings make it {parameter.Shape}; the file is damaged.");
        float[] values = new float[parameter.Shape.Length];
        file.ReadFloats(entry, values);
        parameter.Value.Device.Upload(values, parameter.Value);
    }

    private static string Text(IFormattable number) => number.ToString(null, CultureInfo.InvariantCulture);

    private static string Lower<T>(T value) where T : struct, Enum => value.ToString().ToLowerInvariant();

    /// <summary>The metadata of an adapter file, each value checked when it is read.</summary>
    private sealed class Settings(IReadOnlyDictionary<string, string> data, string path)
    {
        public string Text(string key) => data.TryGetValue(key, out string? value)
            ? value
            : throw new NolaException($"{path}: not a Nola adapter: its metadata lacks '{key}'.");

        public int Whole(string key) => int.TryParse(Text(key), CultureInfo.InvariantCulture, out int value) ? value : throw Bad(key);

        public float Real(string key) => float.TryParse(Text(key), CultureInfo.InvariantCulture, out float value) ? value : throw Bad(key);

        public ulong Seed(string key) => ulong.TryParse(Text(key), CultureInfo.InvariantCulture, out ulong value) ? value : throw Bad(key);

        public int Bits(string key) => CoefficientQuantiser.Widths.Contains(Whole(key)) ? Whole(key) : throw Bad(key);

        public T Choice<T>(string key) where T : struct, Enum => Enum.TryParse(Text(key), true, out T value) && Enum.IsDefined(value) ? value : throw Bad(key);

        private NolaException Bad(string key) => new($"{path}: its metadata has '{key}' = '{Text(key)}', which cannot be read; the file is damaged.");
    }
}
