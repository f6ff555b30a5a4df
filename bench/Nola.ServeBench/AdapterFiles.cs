using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Nola.Models;

namespace Nola.ServeBench;

/// <summary>
/// Thousands of adapter files of one form, as training would leave them: one is written by the library, and the others are it with
/// other values in its tensors.
/// </summary>
internal static class AdapterFiles
{
    public static string[] Write(LanguageModel model, NolaOptions options, string directory, int count)
    {
        Directory.CreateDirectory(directory);
        string first = Path.Combine(directory, "first.tmp");
        using (TrainableAdapter adapter = model.NewAdapter(options)) AdapterFile.Save(adapter, first);
        byte[] bytes = File.ReadAllBytes(first);
        File.Delete(first);
        // The header's length, the header, then float32 values to the end.
        int start = sizeof(ulong) + (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        string[] paths = [.. Enumerable.Range(0, count).Select(i => Path.Combine(directory, $"task-{i:D5}.safetensors"))];
        for (int i = 0; i < count; i++)
        {
            Random random = new(i);
            foreach (ref float value in MemoryMarshal.Cast<byte, float>(bytes.AsSpan(start))) value = random.NextSingle() - 0.5f;
            File.WriteAllBytes(paths[i], bytes);
        }
        return paths;
    }
}
