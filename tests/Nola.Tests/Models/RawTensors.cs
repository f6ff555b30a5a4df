using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Tests;

/// <summary>A safetensors file of any element types, byte by byte, so that it can be what bitsandbytes writes, and damaged.</summary>
internal sealed class RawTensors
{
    private readonly Dictionary<string, (string Type, int[] Shape, byte[] Bytes)> tensors = [];

    public void Add(string name, string type, int[] shape, byte[] bytes) => tensors.Add(name, (type, shape, bytes));

    public void Put(string name, string type, int[] shape, byte[] bytes) => tensors[name] = (type, shape, bytes);

    /// <summary>A weight with everything that bitsandbytes puts beside it.</summary>
    public void Add(string name, QuantizedMatrix matrix)
    {
        if (matrix.Format == WeightFormat.Int8)
        {
            string module = name[..name.LastIndexOf('.')];
            Add(name, "I8", [matrix.Outputs, matrix.Inputs], matrix.Codes);
            Add(module + ".SCB", matrix.Scales);
            Add(module + ".weight_format", "U8", [], [0]);
            return;
        }
        Add(name, "U8", [matrix.Codes.Length, 1], matrix.Codes);
        Add(name + ".quant_map", CodeBook.Nf4.Values);
        string state = "\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", "
            + $"\"shape\": [{matrix.Outputs}, {matrix.Inputs}]";
        if (matrix.Nested is { } nested)
        {
            Add(name + ".absmax", "U8", [nested.Codes.Length], nested.Codes);
            Add(name + ".nested_absmax", nested.Scales);
            Add(name + ".nested_quant_map", nested.Map);
            string offset = ((double)nested.Offset).ToString("R", CultureInfo.InvariantCulture);
            state += $", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": {offset}";
        }
        else Add(name + ".absmax", matrix.Scales);
        byte[] json = Encoding.UTF8.GetBytes($"{{{state}}}");
        Add(name + ".quant_state.bitsandbytes__nf4", "U8", [json.Length], json);
    }

    public void Remove(string name) => Assert(tensors.Remove(name), name);

    public void Rename(string name, string to)
    {
        tensors[to] = tensors[name];
        Remove(name);
    }

    /// <summary>Changes bytes; the shape becomes that of one row of elements.</summary>
    public void Change(string name, Func<byte[], byte[]> change)
    {
        (string type, int[] shape, byte[] bytes) = tensors[name];
        byte[] changed = change(bytes);
        tensors[name] = (type, changed.Length == bytes.Length ? shape : [changed.Length / (type == "F32" ? 4 : 1)], changed);
    }

    public void ChangeText(string name, string from, string to) =>
        Change(name, bytes => Encoding.UTF8.GetBytes(Encoding.UTF8.GetString(bytes).Replace(from, to)));

    public void Write(string path)
    {
        int at = 0;
        Dictionary<string, object> header = [];
        foreach ((string name, (string type, int[] shape, byte[] bytes)) in tensors)
            header[name] = new Dictionary<string, object>
            {
                ["dtype"] = type,
                ["shape"] = shape,
                ["data_offsets"] = (int[])[at, at += bytes.Length],
            };
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(header), length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)json.Length);
        using FileStream file = File.Create(path);
        file.Write(length);
        file.Write(json);
        foreach ((_, _, byte[] bytes) in tensors.Values) file.Write(bytes);
    }

    private void Add(string name, float[] values) => Add(name, "F32", [values.Length], MemoryMarshal.AsBytes<float>(values).ToArray());

    private static void Assert(bool condition, string name)
    {
        if (!condition) throw new ArgumentException($"RawTensors: there is no '{name}'.");
    }
}
