using System.Buffers.Binary;

namespace Nola.Fuzz;

/// <summary>
/// Damage to safetensors files: most of it keeps the layout honest, so that it is not the format's first check that finds it but
/// what reads names, shapes, metadata and values.
/// </summary>
internal static class SafetensorsMutator
{
    private static readonly string[] types =
        ["F32", "F16", "BF16", "F64", "I64", "I32", "I16", "U8", "I8", "BOOL", "F8_E4M3", "F4", "F6_E2M3", "C64", "f32", "", "X"];

    // NaN with and without payload, infinities, the least and the largest numbers.
    private static readonly uint[] floats =
        [0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000, 0x00000001, 0x7F7FFFFF, 0xFF7FFFFF, 0x80000000, 0x3F800000];

    /// <summary>Changes one file.</summary>
    public static byte[] Mutate(byte[] file, Dice dice, IReadOnlyList<byte[]> others)
    {
        SafetensorsImage image = SafetensorsImage.Parse(file);
        for (int i = dice.Few(3); i > 0; i--) Change(image, dice);
        byte[] result = dice.Next(6) switch
        {
            0 => Header(image, dice),
            1 => Lengths(image.ToBytes(), dice),
            _ => image.ToBytes(),
        };
        return dice.Once(10) ? ByteMutator.Mutate(result, dice, others) : result;
    }

    private static void Change(SafetensorsImage image, Dice dice)
    {
        if (image.Metadata.Count > 0 && dice.Once(2))
        {
            Metadata(image.Metadata, dice);
            return;
        }
        if (image.Tensors.Count == 0) return;
        int at = dice.Next(image.Tensors.Count);
        ImageTensor tensor = image.Tensors[at];
        switch (dice.Next(9))
        {
            case 0:
                image.Tensors.RemoveAt(at);
                break;
            case 1:
                image.Tensors.Insert(at, tensor with { Name = Evil.Text(dice, tensor.Name) });
                break;
            case 2:
                image.Tensors[at] = tensor with { Name = Evil.Text(dice, tensor.Name) };
                break;
            case 3:
                image.Tensors[at] = tensor with { Type = dice.Pick(types) };
                break;
            case 4:
                image.Tensors[at] = tensor with { Shape = Dimensions(tensor.Shape, dice) };
                break;
            case 5:
                image.Tensors[at] = Resized(tensor, dice);
                break;
            case 6:
                image.Tensors[at] = tensor with { Data = ByteMutator.Mutate(tensor.Data, dice, [tensor.Data]) };
                break;
            default:
                image.Tensors[at] = tensor with { Data = Float(tensor.Data, dice) };
                break;
        }
    }

    private static void Metadata(List<(string Key, string Value)> metadata, Dice dice)
    {
        int at = dice.Next(metadata.Count);
        switch (dice.Next(6))
        {
            case 0:
                metadata.RemoveAt(at);
                break;
            case 1:
                metadata.Add((Evil.Text(dice, metadata[at].Key), metadata[at].Value));
                break;
            case 2:
                metadata[at] = (metadata[at].Key, dice.Pick(metadata).Value);
                break;
            default:
                metadata[at] = (metadata[at].Key, Evil.Text(dice, metadata[at].Value));
                break;
        }
    }

    private static string[] Dimensions(IReadOnlyList<string> shape, Dice dice) => dice.Next(5) switch
    {
        0 => [.. shape, dice.Pick(Evil.Numbers)],
        1 => [.. shape.Skip(1)],
        2 => [.. shape.Reverse()],
        3 => [.. shape, "1", "1", "1", "1"],
        _ => [.. shape.Select((d, i) => i == dice.Next(shape.Count) ? dice.Pick(Evil.Numbers) : d)],
    };

    // Another shape with as many bytes as it takes.
    private static ImageTensor Resized(ImageTensor tensor, Dice dice)
    {
        int size = tensor.Type switch { "F32" or "I32" => 4, "F64" or "I64" => 8, "F16" or "BF16" or "I16" => 2, _ => 1 };
        int[] shape = [.. tensor.Shape.Select(d => int.TryParse(d, out int n) ? Math.Clamp(n, 0, 1000) : 1)];
        if (shape.Length > 0) shape[dice.Next(shape.Length)] = dice.Pick((int[])[0, 1, 2, 3, 5, 8, 100]);
        long length = shape.Aggregate((long)size, (product, d) => product * d);
        if (length > 1 << 20) return tensor;
        byte[] data = new byte[length];
        tensor.Data.AsSpan(0, (int)Math.Min(length, tensor.Data.Length)).CopyTo(data);
        return tensor with { Shape = [.. shape.Select(d => $"{d}")], Data = data };
    }

    private static byte[] Float(byte[] data, Dice dice)
    {
        if (data.Length < 4) return data;
        byte[] result = (byte[])data.Clone();
        for (int i = dice.Few(); i > 0; i--)
        {
            // An ordinary value as often as an odd one, so that some files are good ones.
            uint bits = dice.Once(2) ? dice.Pick(floats) : BitConverter.SingleToUInt32Bits((dice.Next(2001) - 1000) / 512f);
            BinaryPrimitives.WriteUInt32LittleEndian(result.AsSpan(dice.Next(data.Length / 4) * 4), bits);
        }
        return result;
    }

    private static byte[] Header(SafetensorsImage image, Dice dice)
    {
        JsonTree header = image.Header();
        // Where no tensor is left, the last member is the metadata, which has none.
        if (dice.Once(2) && header.Members!.LastOrDefault() is { Key: not null } last && last.Value.Members is [.., var field]
            && field.Value.Items is { } offsets)
        {
            // Offsets that overlap, leave a hole, lie outside or turn round.
            JsonTree offset = dice.Pick(offsets);
            offset.Raw = dice.Once(2) ? dice.Pick(Evil.Numbers) : $"{long.Parse(offset.Raw!) + dice.Next(17) - 8}";
        }
        else
        {
            for (int i = dice.Few(3); i > 0; i--) JsonMutator.Change(header, dice);
        }
        return image.ToBytes(header.ToString());
    }

    private static byte[] Lengths(byte[] file, Dice dice)
    {
        long length = BinaryPrimitives.ReadInt64LittleEndian(file);
        byte[] result = dice.Next(4) switch
        {
            0 => [.. file, .. dice.Bytes(dice.Length(32))],
            1 => file[..dice.Next(file.Length)],
            _ => (byte[])file.Clone(),
        };
        if (result.Length < 8 || dice.Once(3)) return result;
        long changed = dice.Next(4) switch
        {
            0 => length + dice.Next(33) - 16,
            1 => dice.Pick((long[])[0, 1, 2, 8, -1, long.MaxValue, long.MinValue, 100_000_001, 1L << 32, file.Length - 8, file.Length - 7]),
            2 => length << dice.Next(40),
            _ => (long)dice.Next64(),
        };
        BinaryPrimitives.WriteInt64LittleEndian(result, changed);
        return result;
    }
}
