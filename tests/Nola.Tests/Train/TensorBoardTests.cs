using System.Buffers.Binary;
using System.Text;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>The event file, taken apart by a decoder of its own.</summary>
public sealed class TensorBoardTests
{
    [Fact]
    public void The_checksum_is_CRC_32C() => Assert.Equal(0xE3069283u, TensorBoardWriter.Crc("123456789"u8));

    [Fact]
    public void An_independent_decoder_reads_the_scalars()
    {
        string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
        using (TensorBoardWriter writer = new(directory))
        {
            writer.Scalar("train/loss", 1, 2.5);
            writer.Scalar("valid/loss", 300, -1);
        }
        byte[] file = File.ReadAllBytes(Assert.Single(Directory.GetFiles(directory)));
        List<(int Step, string Text, float Value)> events = [];
        for (int at = 0; at < file.Length;)
        {
            int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan(at));
            Assert.Equal(Masked(file.AsSpan(at, 8)), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 8)));
            ReadOnlySpan<byte> data = file.AsSpan(at + 12, length);
            Assert.Equal(Masked(data), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 12 + length)));
            events.Add(Decode(data));
            at += 16 + length;
        }
        Assert.Equal([(0, "brain.Event:2", 0f), (1, "train/loss", 2.5f), (300, "valid/loss", -1f)], events);
        Directory.Delete(directory, true);
    }

    // Bit by bit, from the polynomial: nothing shared with the writer.
    private static uint Masked(ReadOnlySpan<byte> data)
    {
        uint crc = ~0u;
        foreach (byte b in data)
        {
            crc ^= b;
            for (int i = 0; i < 8; i++) crc = (crc >> 1) ^ ((crc & 1) * 0x82F63B78u);
        }
        crc = ~crc;
        return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
    }

    private static (int, string, float) Decode(ReadOnlySpan<byte> data)
    {
        int step = 0;
        string text = "";
        float value = 0;
        while (!data.IsEmpty)
        {
            int key = (int)Varint(ref data);
            switch (key & 7)
            {
                case 0:
                    step = (int)Varint(ref data);
                    break;
                case 1:
                    data = data[8..];
                    break;
                case 5:
                    value = BinaryPrimitives.ReadSingleLittleEndian(data);
                    data = data[4..];
                    break;
                default:
                    int length = (int)Varint(ref data);
                    ReadOnlySpan<byte> inner = data[..length];
                    data = data[length..];
                    // Text is file_version (3) or a tag; a Summary (5) and its Value (1) nest.
                    if (key >> 3 == 3 || (inner.Length > 0 && inner[0] > 32)) text = Encoding.UTF8.GetString(inner);
                    else (_, text, value) = Decode(inner);
                    break;
            }
        }
        return (step, text, value);
    }

    private static ulong Varint(ref ReadOnlySpan<byte> data)
    {
        ulong value = 0;
        for (int shift = 0; ; shift += 7)
        {
            byte b = data[0];
            data = data[1..];
            value |= (ulong)(b & 127) << shift;
            if (b < 128) return value;
        }
    }
}
