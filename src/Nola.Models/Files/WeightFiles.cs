using System.Runtime.InteropServices;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A checkpoint in the Hugging Face layout: <c>model.safetensors</c>, or shards named by <c>model.safetensors.index.json</c>; names
/// with or without the family's prefix.
/// </summary>
internal sealed class WeightFiles : IWeightSource, IDisposable
{
    private const string Single = "model.safetensors", Index = "model.safetensors.index.json";

    // Elements read at a time: an embedding matrix is not to exist twice, and a piece is to stay in the cache while it is looked through.
    private const int Piece = 1 << 16;

    private readonly Dictionary<string, (Safetensors File, SafetensorsEntry Entry)> tensors = [];
    private readonly List<Safetensors> files;
    private readonly string place;
    private readonly Device device;
    private readonly Func<string, WeightPlace>? layout;
    private float[] buffer = new float[Piece];
    private readonly HashSet<string> read = [];

    /// <summary>Lists the tensors; the files are the new object's.</summary>
    /// <param name="place">Where they are, for messages.</param>
    /// <param name="device">Where the weights are put.</param>
    /// <param name="files">One file, or shards.</param>
    /// <param name="prefix">What names may begin with.</param>
    /// <param name="tied">Token embedding and head, when they are one table.</param>
    /// <param name="layouts">
    /// Finds, of the names in the files, where a weight is kept that they call otherwise; null where they have the model's own names.
    /// </param>
    /// <exception cref="NolaException">A tensor is there twice; the message names it.</exception>
    public WeightFiles(
        string place, Device device, List<Safetensors> files, string prefix, (string Embedding, string Head)? tied,
        Func<IReadOnlyCollection<string>, Func<string, WeightPlace>?>? layouts = null)
    {
        (this.place, this.device, this.files) = (place, device, files);
        foreach (Safetensors file in files)
        {
            foreach (SafetensorsEntry entry in file.Entries)
            {
                string name = entry.Name.StartsWith(prefix, StringComparison.Ordinal) ? entry.Name[prefix.Length..] : entry.Name;
                if (!tensors.TryAdd(name, (file, entry)))
                    throw new NolaException(
                        $"{file.Path}: tensor '{entry.Name}' appears twice in the checkpoint, with and without a prefix or in two shards.");
            }
        }
        if (tied is { } names) Tie(names.Embedding, names.Head);
        layout = layouts?.Invoke(tensors.Keys);
    }

    /// <summary>Opens the checkpoint of a directory.</summary>
    /// <exception cref="NolaException">There is none, or a tensor is there twice.</exception>
    public static WeightFiles Open(
        string directory, Device device, string prefix, (string Embedding, string Head)? tied,
        Func<IReadOnlyCollection<string>, Func<string, WeightPlace>?>? layouts = null)
    {
        List<Safetensors> files = [];
        try
        {
            string single = Path.Combine(directory, Single), index = Path.Combine(directory, Index);
            if (File.Exists(single)) files.Add(Safetensors.Open(single));
            else if (File.Exists(index)) OpenShards(index, directory, files);
            else throw new NolaException($"{directory}: there is no {Single} and no {Index}; {Advice(directory)}");
            return new WeightFiles(directory, device, files, prefix, tied, layouts);
        }
        catch
        {
            foreach (Safetensors file in files) file.Dispose();
            throw;
        }
    }

    /// <summary>The files that a checkpoint's weights are in; none when the directory has no checkpoint.</summary>
    /// <exception cref="NolaException">The index cannot be read.</exception>
    public static IReadOnlyList<string> Names(string directory)
    {
        string single = Path.Combine(directory, Single), index = Path.Combine(directory, Index);
        if (File.Exists(single)) return [single];
        return File.Exists(index) ? [.. ReadIndex(index).Values.Distinct().Select(shard => Path.Combine(directory, shard))] : [];
    }

    /// <inheritdoc/>
    public Tensor Read(string name, Shape shape, out WeightDigest? digest)
    {
        (Safetensors file, SafetensorsEntry entry, long first) = Find(name, shape);
        Tensor tensor = device.Empty(shape);
        int at = 0;
        try
        {
            digest = Stream(file, entry, first, shape, Upload);
            return tensor;
        }
        catch
        {
            tensor.Dispose();
            throw;
        }

        void Upload(ReadOnlySpan<float> piece)
        {
            device.UploadAt(piece, tensor, at);
            at += piece.Length;
        }
    }

    /// <inheritdoc/>
    public void Stream(string name, Shape shape, TakeValues take, out WeightDigest? digest)
    {
        (Safetensors file, SafetensorsEntry entry, long first) = Find(name, shape);
        digest = Stream(file, entry, first, shape, take);
    }

    /// <inheritdoc/>
    public QuantizedMatrix? Quantized(string name, int outputs, int inputs) =>
        BitsAndBytes.Read(Companion, name, outputs, inputs);

    /// <inheritdoc/>
    public bool IsBFloat16(string name) =>
        tensors.TryGetValue(PlaceOf(name).Name, out (Safetensors, SafetensorsEntry Entry) found) && found.Entry.Type == "BF16";

    /// <summary>Whether there is a weight of that name.</summary>
    public bool Has(string name) => tensors.ContainsKey(PlaceOf(name).Name);

    /// <summary>Dimensions of a weight as the file has it; null where there is none.</summary>
    public IReadOnlyList<long>? ShapeOf(string name) =>
        tensors.TryGetValue(PlaceOf(name).Name, out (Safetensors File, SafetensorsEntry Entry) found) ? found.Entry.Shape : null;

    /// <summary>Refuses a weight that nothing has read: it is of another model than config.json describes.</summary>
    /// <param name="model">What config.json describes, for messages.</param>
    /// <param name="skips">Whether a name is of something else than a weight.</param>
    /// <param name="expected">What was expected, for messages.</param>
    /// <exception cref="NolaException">There is such a tensor; the message names it.</exception>
    public void RefuseUnread(string model, Func<string, bool> skips, string expected = "a language model without other heads")
    {
        foreach ((string name, (Safetensors file, SafetensorsEntry entry)) in tensors)
        {
            if (read.Contains(name) || skips(name)) continue;
            throw new NolaException(
                $"{file.Path}: tensor {Quoted.Of(entry.Name)} is no weight of the {model} that config.json describes; "
                + $"expected {expected}.");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Safetensors file in files) file.Dispose();
    }

    // The tensor that a weight is in, and its first element there.
    private (Safetensors File, SafetensorsEntry Entry, long First) Find(string name, Shape shape)
    {
        (string stored, int part, int parts) = PlaceOf(name);
        if (!tensors.TryGetValue(stored, out (Safetensors File, SafetensorsEntry Entry) found))
            throw new NolaException(
                $"{place}: tensor '{stored}' is missing; this is not a checkpoint of the kind and size that config.json gives.");
        int[] whole = shape.Dimensions();
        if (parts > 1) whole[0] *= parts;
        if (!found.Entry.Shape.SequenceEqual(whole.Select(d => (long)d)))
            throw new NolaException(
                $"{found.File.Path}: tensor '{stored}' has shape [{string.Join(", ", found.Entry.Shape)}] "
                + $"where config.json makes it ({string.Join(", ", whole)}).");
        read.Add(stored);
        return (found.File, found.Entry, (long)part * shape.Length);
    }

    private WeightPlace PlaceOf(string name) => layout?.Invoke(name) ?? new(name);

    private WeightDigest Stream(Safetensors file, SafetensorsEntry entry, long first, Shape shape, TakeValues take)
    {
        WeightDigest digest = new(shape);
        int rows = Math.Max(1, Piece / shape.Columns);
        if (buffer.Length < rows * shape.Columns) buffer = new float[rows * shape.Columns];
        for (int i = 0; i < shape.Rows; i += rows)
        {
            Span<float> piece = buffer.AsSpan(0, Math.Min(rows, shape.Rows - i) * shape.Columns);
            ReadOnlySpan<float> values = file.FiniteFloats(entry, first + (long)i * shape.Columns, piece);
            digest.Add(values);
            take(values);
        }
        return digest;
    }

    // A tensor in codes, or beside one: it is then none that nothing has read.
    private (Safetensors File, SafetensorsEntry Entry)? Companion(string name)
    {
        (string stored, _, int parts) = PlaceOf(name);
        if (parts > 1 || !tensors.TryGetValue(stored, out (Safetensors File, SafetensorsEntry Entry) found)) return null;
        read.Add(stored);
        return found;
    }

    // A tied head may be stored under either name, or as an equal copy.
    private void Tie(string embedding, string head)
    {
        if (!tensors.TryGetValue(head, out (Safetensors File, SafetensorsEntry Entry) found)) return;
        read.Add(head);
        if (tensors.TryAdd(embedding, found)) return;
        if (!AreEqual(found, tensors[embedding]))
            throw new NolaException(
                $"{found.File.Path}: tensor '{head}' differs from '{embedding}', and config.json makes them one; "
                + "set \"tie_word_embeddings\": false there to load both.");
    }

    private bool AreEqual((Safetensors File, SafetensorsEntry Entry) a, (Safetensors File, SafetensorsEntry Entry) b)
    {
        if (!a.Entry.Shape.SequenceEqual(b.Entry.Shape)) return false;
        float[] other = new float[Piece];
        for (long i = 0; i < a.Entry.Length; i += Piece)
        {
            int length = (int)Math.Min(Piece, a.Entry.Length - i);
            ReadOnlySpan<float> x = a.File.FiniteFloats(a.Entry, i, buffer.AsSpan(0, length));
            ReadOnlySpan<float> y = b.File.FiniteFloats(b.Entry, i, other.AsSpan(0, length));
            if (!MemoryMarshal.AsBytes(x).SequenceEqual(MemoryMarshal.AsBytes(y))) return false;
        }
        return true;
    }

    private static void OpenShards(string index, string directory, List<Safetensors> files)
    {
        Dictionary<string, string> map = ReadIndex(index);
        Dictionary<string, Safetensors> opened = [];
        foreach (string shard in map.Values.Distinct())
        {
            string path = Path.Combine(directory, shard);
            if (!File.Exists(path))
                throw new NolaException(
                    $"{index}: shard {Quoted.Of(shard)} is missing from {directory}; download it again.");
            files.Add(opened[shard] = Safetensors.Open(path));
        }
        foreach ((string name, string shard) in map)
            if (!opened[shard].TryGet(name, out _))
                throw new NolaException(
                    $"{index}: tensor {Quoted.Of(name)} is not in its shard {Quoted.Of(shard)}.");
    }

    // Tensor names to file names.
    private static Dictionary<string, string> ReadIndex(string index)
    {
        using JsonDocument document = JsonInput.Read(index, largest: JsonInput.LargestTable);
        if (document.RootElement.ValueKind != JsonValueKind.Object
            || !document.RootElement.TryGetProperty("weight_map", out JsonElement entries) || entries.ValueKind != JsonValueKind.Object)
            throw new NolaException($"{index}: not a valid index; expected an object with weight_map from tensor names to file names.");
        Dictionary<string, string> map = [];
        foreach (JsonProperty property in entries.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.String)
                throw new NolaException(
                    $"{index}: the shard of {Quoted.Of(property.Name)} is {Quoted.Of(property.Value.GetRawText())}; "
                    + "expected a file name.");
            string shard = property.Value.GetString()!;
            // Backslashes separate directories on one system only, and are refused on all.
            if (shard.Length == 0 || shard.Contains('\\') || shard != Path.GetFileName(shard) || shard is "." or "..")
                throw new NolaException($"{index}: shard {Quoted.Of(shard)} is not a plain file name in the same directory.");
            map[property.Name] = shard;
        }
        return map;
    }

    private static string Advice(string directory) => File.Exists(Path.Combine(directory, "pytorch_model.bin"))
        ? "only pytorch_model.bin, which cannot be read safely. Download the checkpoint's model.safetensors."
        : "expected a directory with config.json and model.safetensors.";
}

/// <summary>Where a weight is kept in files that call it otherwise than the model does.</summary>
/// <param name="Name">The tensor's name there, without the prefix.</param>
/// <param name="Part">Which of several weights that are one tensor, below each other.</param>
/// <param name="Parts">How many they are.</param>
internal readonly record struct WeightPlace(string Name, int Part = 0, int Parts = 1);
