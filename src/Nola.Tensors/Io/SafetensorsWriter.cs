using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace Nola.Tensors;

/// <summary>A tensor to be written.</summary>
/// <param name="Name">Its key.</param>
/// <param name="Type">The element type of the file; float32 values are rounded to bfloat16 when it says so.</param>
/// <param name="Shape">Dimensions.</param>
/// <param name="Values">Makes the elements when their turn comes, so that one tensor at a time is in memory.</param>
public sealed record SafetensorsTensor(string Name, DType Type, Shape Shape, Func<float[]> Values)
{
    /// <summary>A tensor whose values exist.</summary>
    public SafetensorsTensor(string name, Shape shape, float[] values) : this(name, DType.Float32, shape, () => values) { }

    /// <summary>Elements of U8, for what is packed by a rule of its own.</summary>
    public static SafetensorsTensor OfBytes(string name, Shape shape, byte[] bytes) => new(name, shape, []) { Packed = bytes };

    internal byte[]? Packed { get; private init; }

    internal string TypeName => Packed is not null ? "U8" : Type switch { DType.Float32 => "F32", DType.BFloat16 => "BF16", _ => "I32" };

    internal int ElementSize => Packed is not null ? 1 : Type.Size();
}

/// <summary>Writes safetensors files: whole or not at all, in the reference implementation's order.</summary>
public static class SafetensorsWriter
{
    /// <summary>Writes a file. Order: by element size, largest first, then by name; the header is padded to eight bytes.</summary>
    /// <exception cref="NolaException">The file cannot be written.</exception>
    public static void Write(string path, IEnumerable<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        List<SafetensorsTensor> ordered = Ordered(tensors);
        byte[] header = Header(ordered, metadata);
        AtomicFile.Write(path, stream => Write(ordered, header, stream));
    }

    /// <summary>The bytes of the file that would be written.</summary>
    internal static byte[] ToBytes(IEnumerable<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        List<SafetensorsTensor> ordered = Ordered(tensors);
        using MemoryStream stream = new();
        Write(ordered, Header(ordered, metadata), stream);
        return stream.ToArray();
    }

    private static List<SafetensorsTensor> Ordered(IEnumerable<SafetensorsTensor> tensors) =>
        [.. tensors.OrderByDescending(t => t.ElementSize).ThenBy(t => t.Name, StringComparer.Ordinal)];

    private static void Write(List<SafetensorsTensor> ordered, byte[] header, Stream stream)
    {
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
        stream.Write(length);
        stream.Write(header);
        foreach (SafetensorsTensor tensor in ordered) stream.Write(Bytes(tensor));
    }

    private static byte[] Header(List<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        using MemoryStream memory = new();
        using (Utf8JsonWriter json = new(memory))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                    json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach (SafetensorsTensor tensor in tensors)
            {
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.TypeName);
                json.WriteStartArray("shape");
                foreach (int d in tensor.Shape) json.WriteNumberValue(d);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += (long)tensor.Shape.Length * tensor.ElementSize);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        while (memory.Length % 8 != 0) memory.WriteByte((byte)' ');
        return memory.ToArray();
    }

    private static byte[] Bytes(SafetensorsTensor tensor)
    {
        if (tensor.Packed is { } bytes)
        {
            return bytes.Length == tensor.Shape.Length ? bytes
                : throw new ShapeException($"SafetensorsWriter: '{tensor.Name}' has {bytes.Length} bytes and shape {tensor.Shape}.");
        }
        float[] values = tensor.Values();
        if (values.Length != tensor.Shape.Length)
            throw new ShapeException($"SafetensorsWriter: '{tensor.Name}' has {values.Length} values and shape {tensor.Shape}.");
        if (tensor.Type == DType.Float32) return MemoryMarshal.AsBytes<float>(values).ToArray();
        if (tensor.Type != DType.BFloat16)
            throw new ArgumentException($"SafetensorsWriter: '{tensor.Name}' is {tensor.Type}; expected Float32 or BFloat16.");
        ushort[] rounded = Array.ConvertAll(values, DTypes.ToBFloat16);
        return MemoryMarshal.AsBytes<ushort>(rounded).ToArray();
    }
}
