using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// TensorBoard's event files: TFRecord frames (length, its masked CRC-32C, data, their masked CRC-32C) around Event
/// messages, of which scalars need so few fields that they are encoded by hand (tensorflow/core/util/event.proto).
/// </summary>
internal sealed class TensorBoardWriter : IDisposable
{
    private readonly string path;
    private FileStream? stream;

    /// <summary>Prepares a file in a directory; it is made with the first scalar.</summary>
    public TensorBoardWriter(string directory)
    {
        // Time, host, and a number that a run resumed within the same second does not share.
        DateTimeOffset now = DateTimeOffset.UtcNow;
        path = Path.Combine(directory, $"events.out.tfevents.{now.ToUnixTimeSeconds()}.{Environment.MachineName}.{now.Ticks}");
    }

    /// <summary>Adds one point of a curve.</summary>
    /// <exception cref="NolaException">The file cannot be written.</exception>
    public void Scalar(string tag, int step, double value)
    {
        try
        {
            if (stream is null)
            {
                // Without a buffer, whose rest would be tried again, and fail again, when the file is closed.
                stream = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read | FileShare.Delete, 0);
                Record(Event(0, e => Bytes(e, 3, Encoding.UTF8.GetBytes("brain.Event:2"))));
            }
            Record(Event(step, e => Bytes(e, 5, Summary(tag, (float)value))));
        }
        catch (Exception error) when (AtomicFile.IsFailure(error))
        {
            throw new NolaException(AtomicFile.Sentence(path, error), error);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => stream?.Dispose();

    /// <summary>CRC-32C (Castagnoli) of some bytes.</summary>
    internal static uint Crc(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in data) crc = BitOperations.Crc32C(crc, b);
        return ~crc;
    }

    private void Record(byte[] data)
    {
        byte[] frame = new byte[data.Length + 16];
        BinaryPrimitives.WriteUInt64LittleEndian(frame, (ulong)data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(frame.AsSpan(8), Masked(frame.AsSpan(0, 8)));
        data.CopyTo(frame, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(frame.AsSpan(12 + data.Length), Masked(data));
        stream!.Write(frame);
    }

    private static uint Masked(ReadOnlySpan<byte> data) => BitOperations.RotateRight(Crc(data), 15) + 0xA282EAD8;

    // Event { 1: double wall_time, 2: int64 step, 3: string file_version | 5: Summary }
    private static byte[] Event(int step, Action<MemoryStream> content)
    {
        using MemoryStream message = new();
        Span<byte> number = stackalloc byte[8];
        BinaryPrimitives.WriteDoubleLittleEndian(number, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0);
        message.WriteByte((1 << 3) | 1);
        message.Write(number);
        message.WriteByte(2 << 3);
        Varint(message, (ulong)step);
        content(message);
        return message.ToArray();
    }

    // Summary { 1: Value { 1: string tag, 2: float simple_value } }
    private static byte[] Summary(string tag, float value)
    {
        using MemoryStream inner = new(), outer = new();
        Bytes(inner, 1, Encoding.UTF8.GetBytes(tag));
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteSingleLittleEndian(number, value);
        inner.WriteByte((2 << 3) | 5);
        inner.Write(number);
        Bytes(outer, 1, inner.ToArray());
        return outer.ToArray();
    }

    private static void Bytes(MemoryStream message, int field, byte[] data)
    {
        message.WriteByte((byte)((field << 3) | 2));
        Varint(message, (ulong)data.Length);
        message.Write(data);
    }

    private static void Varint(MemoryStream message, ulong value)
    {
        for (; value >= 0x80; value >>= 7) message.WriteByte((byte)(value | 0x80));
        message.WriteByte((byte)value);
    }
}
