using Nola.Models;
using Nola.Tensors;

namespace Nola.Tests;

/// <summary>Adapter files that say what no adapter would.</summary>
internal static class AdapterFiles
{
    /// <summary>Writes an adapter with its metadata and tensors changed.</summary>
    public static void Write(
        TrainableAdapter adapter, string path, Action<Dictionary<string, string>>? metadata = null,
        Action<List<SafetensorsTensor>>? tensors = null)
    {
        AdapterFile.Save(adapter, path);
        Change(path, path, metadata, tensors);
    }

    /// <summary>Copies an adapter file with its metadata and tensors changed.</summary>
    public static void Change(
        string from, string to, Action<Dictionary<string, string>>? metadata = null, Action<List<SafetensorsTensor>>? tensors = null)
    {
        Dictionary<string, string> data;
        List<SafetensorsTensor> all;
        using (Safetensors file = Safetensors.Open(from))
        {
            data = new(file.Metadata);
            all = [.. file.Entries.Select(e => Copy(file, e))];
        }
        metadata?.Invoke(data);
        tensors?.Invoke(all);
        SafetensorsWriter.Write(to, all, data);
    }

    private static SafetensorsTensor Copy(Safetensors file, SafetensorsEntry entry)
    {
        Shape shape = Shape.Create([.. entry.Shape.Select(d => (int)d)]);
        if (entry.Type == "U8") return SafetensorsTensor.OfBytes(entry.Name, shape, file.Bytes(entry).ToArray());
        float[] values = new float[entry.Length];
        file.ReadFloats(entry, values);
        return new(entry.Name, shape, values);
    }
}
