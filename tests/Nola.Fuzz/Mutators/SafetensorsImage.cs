using System.Buffers.Binary;
using System.Text;
using System.Text.Json;

namespace Nola.Fuzz;

/// <summary>A tensor of an image.</summary>
/// <param name="Name">Its key.</param>
/// <param name="Type">Of its elements.</param>
/// <param name="Shape">Dimensions, as text.</param>
/// <param name="Data">Its bytes.</param>
internal sealed record ImageTensor(string Name, string Type, IReadOnlyList<string> Shape, byte[] Data);

/// <summary>The parts of a safetensors file, to be changed and written with an honest layout, whatever is in them.</summary>
internal sealed class SafetensorsImage
{
    /// <summary>The file's metadata.</summary>
    public List<(string Key, string Value)> Metadata { get; } = [];

    /// <summary>In the order of their bytes.</summary>
    public List<ImageTensor> Tensors { get; } = [];

    /// <summary>Takes a valid file apart.</summary>
    public static SafetensorsImage Parse(byte[] file)
    {
        SafetensorsImage image = new();
        int length = (int)BinaryPrimitives.ReadInt64LittleEndian(file);
        using JsonDocument header = JsonDocument.Parse(file.AsMemory(8, length));
        List<(int Begin, ImageTensor Tensor)> tensors = [];
        foreach (JsonProperty property in header.RootElement.EnumerateObject())
        {
            if (property.Name == "__metadata__")
            {
                image.Metadata.AddRange(property.Value.EnumerateObject().Select(p => (p.Name, p.Value.GetString()!)));
                continue;
            }
            JsonElement offsets = property.Value.GetProperty("data_offsets");
            int begin = offsets[0].GetInt32(), end = offsets[1].GetInt32(), data = 8 + length;
            string type = property.Value.GetProperty("dtype").GetString()!;
            string[] shape = [.. property.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetRawText())];
            tensors.Add((begin, new(property.Name, type, shape, file[(data + begin)..(data + end)])));
        }
        image.Tensors.AddRange(tensors.OrderBy(t => t.Begin).Select(t => t.Tensor));
        return image;
    }

    /// <summary>The header as a tree.</summary>
    public JsonTree Header()
    {
        List<(string, JsonTree)> members = [];
        JsonTree metadata = JsonTree.Object(Metadata.Select(m => (Text(m.Key), JsonTree.Leaf(Text(m.Value)))));
        if (Metadata.Count > 0) members.Add(("\"__metadata__\"", metadata));
        long at = 0;
        foreach (ImageTensor tensor in Tensors)
        {
            members.Add((Text(tensor.Name), JsonTree.Object(
            [
                ("\"dtype\"", JsonTree.Leaf(Text(tensor.Type))),
                ("\"shape\"", JsonTree.Array(tensor.Shape.Select(JsonTree.Leaf))),
                ("\"data_offsets\"", JsonTree.Array([JsonTree.Leaf($"{at}"), JsonTree.Leaf($"{at + tensor.Data.Length}")])),
            ])));
            at += tensor.Data.Length;
        }
        return JsonTree.Object(members);
    }

    /// <summary>The file.</summary>
    public byte[] ToBytes() => ToBytes(Header().ToString());

    /// <summary>The file under another header.</summary>
    public byte[] ToBytes(string header)
    {
        byte[] json = Encoding.UTF8.GetBytes(header), length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        return [.. length, .. json, .. Tensors.SelectMany(t => t.Data)];
    }

    private static string Text(string value) => JsonSerializer.Serialize(value);
}
