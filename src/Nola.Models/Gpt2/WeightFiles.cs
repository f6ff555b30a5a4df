using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A GPT-2 checkpoint in the Hugging Face layout: <c>model.safetensors</c>, or shards named by
/// <c>model.safetensors.index.json</c>; keys with or without the <c>transformer.</c> prefix.
/// </summary>
internal sealed class WeightFiles : IWeightSource, IDisposable
{
    private const string Prefix = "transformer.", Single = "model.safetensors", Index = "model.safetensors.index.json";

    private readonly Dictionary<string, (Safetensors File, SafetensorsEntry Entry)> tensors = [];
    private readonly List<Safetensors> files;
    private readonly string place;
    private readonly Device device;
    private readonly float[] buffer = new float[1 << 18];

    public WeightFiles(string place, Device device, List<Safetensors> files)
    {
        (this.place, this.device, this.files) = (place, device, files);
        foreach (Safetensors file in files)
        {
            foreach (SafetensorsEntry entry in file.Entries)
            {
                string name = entry.Name.StartsWith(Prefix, StringComparison.Ordinal) ? entry.Name[Prefix.Length..] : entry.Name;
                if (!tensors.TryAdd(name, (file, entry)))
                    throw new NolaException($"{file.Path}: tensor '{entry.Name}' appears twice in the checkpoint, with and without a prefix or in two shards.");
            }
        }
    }

    /// <summary>Opens the checkpoint of a directory.</summary>
    public static WeightFiles Open(string directory, Device device)
    {
        List<Safetensors> files = [];
        try
        {
            string single = Path.Combine(directory, Single), index = Path.Combine(directory, Index);
            if (File.Exists(single)) files.Add(Safetensors.Open(single));
            else if (File.Exists(index)) OpenShards(index, directory, files);
            else throw new NolaException($"{directory}: there is no {Single} and no {Index}; {Advice(directory)}");
            return new WeightFiles(directory, device, files);
        }
        catch
        {
            foreach (Safetensors file in files) file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public Tensor Read(string name, Shape shape)
    {
        if (!tensors.TryGetValue(name, out (Safetensors File, SafetensorsEntry Entry) found))
            throw new NolaException($"{place}: tensor '{name}' is missing; this is not a GPT-2 checkpoint of the size that config.json gives.");
        if (!found.Entry.Shape.SequenceEqual(shape.Dimensions().Select(d => (long)d)))
            throw new NolaException($"{found.File.Path}: tensor '{name}' has shape [{string.Join(", ", found.Entry.Shape)}] where config.json makes it {shape}.");
        // In pieces: an embedding matrix is not to exist twice.
        Tensor tensor = device.Empty(shape);
        for (int i = 0; i < shape.Length; i += buffer.Length)
        {
            Span<float> piece = buffer.AsSpan(0, Math.Min(buffer.Length, shape.Length - i));
            found.File.ReadFloats(found.Entry, i, piece);
            device.UploadAt(piece, tensor, i);
        }
        return tensor;
    }

    /// <summary>
    /// A digest of sizes and weights that does not depend on how the checkpoint is cut into files: SHA-256 over the
    /// configuration and 256 evenly spaced float32 elements of every weight, in order of name. 32 hex digits.
    /// </summary>
    public string Identity(Gpt2Config config)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"gpt2 {config.Layers} {config.Heads} {config.Channels} {config.Inner} {config.Vocabulary} {config.Positions}\n"));
        float[] one = new float[1];
        foreach ((string name, (Safetensors file, SafetensorsEntry entry)) in tensors.OrderBy(t => t.Key, StringComparer.Ordinal))
        {
            // Causal masks and a stored copy of a tied head are not weights.
            if (name.EndsWith(".attn.bias", StringComparison.Ordinal) || name.EndsWith(".masked_bias", StringComparison.Ordinal)) continue;
            if (name == "lm_head.weight" && config.TiedHead) continue;
            hash.AppendData(Encoding.UTF8.GetBytes($"{name} {string.Join('x', entry.Shape)}\n"));
            long count = Math.Min(256, entry.Length);
            for (long i = 0; i < count; i++)
            {
                file.ReadFloats(entry, i * entry.Length / count, one);
                hash.AppendData(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(one));
            }
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..32];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Safetensors file in files) file.Dispose();
    }

    private static void OpenShards(string index, string directory, List<Safetensors> files)
    {
        HashSet<string> shards = [];
        Dictionary<string, string> map = [];
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(index));
            foreach (JsonProperty property in document.RootElement.GetProperty("weight_map").EnumerateObject())
            {
                map[property.Name] = property.Value.GetString()!;
                shards.Add(map[property.Name]);
            }
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new NolaException($"{index}: not a valid index; expected an object with weight_map from tensor names to file names.", error);
        }
        Dictionary<string, Safetensors> opened = [];
        foreach (string shard in shards)
        {
            if (shard != Path.GetFileName(shard)) throw new NolaException($"{index}: shard '{shard}' is not a plain file name in the same directory.");
            string path = Path.Combine(directory, shard);
            if (!File.Exists(path)) throw new NolaException($"{index}: shard '{shard}' is missing from {directory}; download it again.");
            files.Add(opened[shard] = Safetensors.Open(path));
        }
        foreach ((string name, string shard) in map)
            if (!opened[shard].TryGet(name, out _)) throw new NolaException($"{index}: tensor '{name}' is not in its shard '{shard}'.");
    }

    private static string Advice(string directory) => File.Exists(Path.Combine(directory, "pytorch_model.bin"))
        ? "only pytorch_model.bin, which cannot be read safely. Download the checkpoint's model.safetensors."
        : "expected a directory with config.json and model.safetensors.";
}
