using System.Buffers;
using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Nola.Tensors;

/// <summary>
/// A safetensors file, memory-mapped and validated whole before anything is read from it. Elements are little-endian in
/// row-major order.
/// </summary>
public sealed unsafe class Safetensors : IDisposable
{
    private readonly Dictionary<string, SafetensorsEntry> byName;
    private readonly MemoryMappedFile? file;
    private readonly MemoryMappedViewAccessor? view;
    private readonly IDisposable? owner;
    private readonly SafeFileHandle? handle;
    private readonly byte* data;
    private readonly long dataStart;
    private bool disposed;

    private Safetensors(
        string path, byte* start, long length, MemoryMappedFile? file, MemoryMappedViewAccessor? view, IDisposable? owner,
        SafeFileHandle? handle)
    {
        (Path, this.file, this.view, this.owner, this.handle) = (path, file, view, owner, handle);
        if (length < 8) throw SafetensorsHeader.Bad(path, $"it has {length} bytes, fewer than the 8 of the header's length");
        ulong header = BinaryPrimitives.ReadUInt64LittleEndian(new ReadOnlySpan<byte>(start, 8));
        if (header > SafetensorsHeader.MaxLength)
            throw SafetensorsHeader.Bad(path, $"the header would be {header} bytes, above the limit of {SafetensorsHeader.MaxLength}");
        if ((long)header > length - 8) throw SafetensorsHeader.Bad(path, $"the header would be {header} bytes and the file has {length}");
        Entries = SafetensorsHeader.Parse(
            new ReadOnlySpan<byte>(start + 8, (int)header), length - 8 - (long)header, path, out Dictionary<string, string> metadata);
        Metadata = metadata;
        byName = Entries.ToDictionary(entry => entry.Name);
        dataStart = 8 + (long)header;
        data = start + dataStart;
    }

    /// <summary>The file, as it was named.</summary>
    public string Path { get; }

    /// <summary>The file's <c>__metadata__</c>; empty when there is none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>All tensors in the order of their bytes.</summary>
    public IReadOnlyList<SafetensorsEntry> Entries { get; }

    /// <summary>Maps and validates a file.</summary>
    /// <exception cref="NolaException">It is missing, unreadable, or breaks a rule of the format.</exception>
    public static Safetensors Open(string path)
    {
        FileStream stream = InputFile.Open(path);
        MemoryMappedFile? file = null;
        MemoryMappedViewAccessor? view = null;
        byte* start = null;
        try
        {
            long length = stream.Length;
            if (length == 0) throw SafetensorsHeader.Bad(path, "it is empty");
            file = MemoryMappedFile.CreateFromFile(
                stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
            view = file.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            return new Safetensors(path, start + view.PointerOffset, length, file, view, null, stream.SafeFileHandle);
        }
        catch (Exception error)
        {
            // A view whose pointer is held stays mapped for ever, and a process has some ten thousand mappings.
            if (start != null) view!.SafeMemoryMappedViewHandle.ReleasePointer();
            view?.Dispose();
            file?.Dispose();
            stream.Dispose();
            if (error is not (IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)) throw;
            throw InputFile.Unreadable(path, error);
        }
    }

    /// <summary>Validates a file that is in memory already, such as an embedded resource; nothing is copied.</summary>
    /// <exception cref="NolaException">It breaks a rule of the format.</exception>
    public static Safetensors Open(UnmanagedMemoryStream stream, string name) =>
        new(name, stream.PositionPointer, stream.Length - stream.Position, null, null, stream, null);

    /// <summary>Validates a file that is in memory.</summary>
    /// <exception cref="NolaException">It breaks a rule of the format.</exception>
    internal static Safetensors Open(byte[] file, string name)
    {
        MemoryHandle pinned = file.AsMemory().Pin();
        try
        {
            return new(name, (byte*)pinned.Pointer, file.Length, null, null, pinned, null);
        }
        catch
        {
            pinned.Dispose();
            throw;
        }
    }

    /// <summary>Looks a tensor up by name.</summary>
    public bool TryGet(string name, out SafetensorsEntry entry) => byName.TryGetValue(name, out entry!);

    /// <summary>The tensor called <paramref name="name"/>.</summary>
    /// <exception cref="NolaException">There is none.</exception>
    public SafetensorsEntry Get(string name) => TryGet(name, out SafetensorsEntry entry)
        ? entry
        : throw new NolaException($"{Path}: tensor '{name}' is missing.");

    /// <summary>The bytes of a tensor, valid until this is disposed.</summary>
    public ReadOnlySpan<byte> Bytes(SafetensorsEntry entry)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (entry.End - entry.Begin > int.MaxValue) throw new NolaException($"{Path}: tensor '{entry.Name}' has more than 2 GiB.");
        return new(data + entry.Begin, (int)(entry.End - entry.Begin));
    }

    /// <summary>Elements of F32, F16, BF16 or F64 as float32.</summary>
    /// <exception cref="NolaException">The type is another one.</exception>
    /// <exception cref="ShapeException">The destination has another length.</exception>
    public void ReadFloats(SafetensorsEntry entry, Span<float> destination) => ReadFloats(entry, 0, destination);

    /// <summary>Elements <paramref name="first"/> … of F32, F16, BF16 or F64 as float32.</summary>
    /// <exception cref="NolaException">The type is another one.</exception>
    /// <exception cref="ShapeException">The tensor has fewer elements.</exception>
    public void ReadFloats(SafetensorsEntry entry, long first, Span<float> destination)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (first < 0 || first + destination.Length > entry.Length)
            throw new ShapeException(
                $"ReadFloats: elements {first} … {first + destination.Length - 1} of '{entry.Name}', which has {entry.Length}.");
        if (entry.Type == "F32")
        {
            ReadBytes(entry, sizeof(float) * first, MemoryMarshal.AsBytes(destination));
            return;
        }
        if (entry.Type is not ("BF16" or "F16" or "F64"))
            throw new NolaException($"{Path}: tensor '{entry.Name}' is {entry.Type}; expected F32, BF16, F16 or F64.");
        const int Some = 4096;
        int size = SafetensorsHeader.Bits(entry.Type) / 8;
        Span<byte> bytes = stackalloc byte[Some];
        for (int some; destination.Length > 0; destination = destination[some..], first += some)
        {
            some = Math.Min(Some / size, destination.Length);
            ReadBytes(entry, size * first, bytes[..(size * some)]);
            Widen(entry.Type, bytes[..(size * some)], destination);
        }
    }

    /// <summary>
    /// Bytes <paramref name="first"/> … of a tensor. Unlike those of <see cref="Bytes"/>, they are read and not mapped, so that what
    /// goes through a large file does not keep it in memory.
    /// </summary>
    /// <exception cref="NolaException">The file cannot be read any more, or has become shorter.</exception>
    internal void ReadBytes(SafetensorsEntry entry, long first, Span<byte> destination)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (first < 0 || first + destination.Length > entry.End - entry.Begin)
            throw new ShapeException(
                $"ReadBytes: bytes {first} … {first + destination.Length - 1} of '{entry.Name}', which has {entry.End - entry.Begin}.");
        if (handle is null)
        {
            new ReadOnlySpan<byte>(data + entry.Begin + first, destination.Length).CopyTo(destination);
            return;
        }
        try
        {
            for (long at = dataStart + entry.Begin + first; destination.Length > 0;)
            {
                int read = RandomAccess.Read(handle, destination, at);
                if (read == 0) throw SafetensorsHeader.Bad(Path, $"it ends inside tensor '{entry.Name}', where it did not a moment ago");
                at += read;
                destination = destination[read..];
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw InputFile.Unreadable(Path, error);
        }
    }

    /// <summary>All bytes of a tensor, read and not mapped.</summary>
    /// <inheritdoc cref="ReadBytes(SafetensorsEntry, long, Span{byte})"/>
    internal byte[] ReadBytes(SafetensorsEntry entry)
    {
        if (entry.End - entry.Begin > Array.MaxLength) throw new NolaException($"{Path}: tensor '{entry.Name}' has more than 2 GiB.");
        byte[] bytes = new byte[entry.End - entry.Begin];
        ReadBytes(entry, 0, bytes);
        return bytes;
    }

    // As many elements as there are bytes for.
    private static void Widen(string type, ReadOnlySpan<byte> bytes, Span<float> to)
    {
        switch (type)
        {
            case "BF16":
                ReadOnlySpan<ushort> halves = MemoryMarshal.Cast<byte, ushort>(bytes);
                int i = 0;
                for (; i + Vector<ushort>.Count <= halves.Length; i += Vector<ushort>.Count)
                {
                    Vector.Widen(new Vector<ushort>(halves[i..]), out Vector<uint> low, out Vector<uint> high);
                    Vector.AsVectorSingle(low << 16).CopyTo(to[i..]);
                    Vector.AsVectorSingle(high << 16).CopyTo(to[(i + Vector<uint>.Count)..]);
                }
                for (; i < halves.Length; i++) to[i] = DTypes.FromBFloat16(halves[i]);
                break;
            case "F16":
                TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(bytes), to);
                break;
            default:
                for (int j = 0; j < bytes.Length / sizeof(double); j++)
                    to[j] = (float)BinaryPrimitives.ReadDoubleLittleEndian(bytes[(j * sizeof(double))..]);
                break;
        }
    }

    /// <summary>
    /// Elements <paramref name="first"/> … as float32 in <paramref name="buffer"/>, whose length says how many, each a finite number.
    /// </summary>
    /// <exception cref="NolaException">The type is another one, or an element is not finite; the message names the tensor.</exception>
    internal ReadOnlySpan<float> FiniteFloats(SafetensorsEntry entry, long first, Span<float> buffer)
    {
        ReadFloats(entry, first, buffer);
        ReadOnlySpan<float> values = buffer;
        if (TensorPrimitives.IsFiniteAll(values)) return values;
        int at = 0;
        while (float.IsFinite(values[at])) at++;
        string value = float.IsNaN(values[at]) ? "NaN" : "infinity";
        throw new NolaException(
            $"{Path}: element {first + at} of tensor '{entry.Name}' is {value}; expected finite numbers. The file is damaged, "
            + "or its training went wrong.");
    }

    /// <summary>All elements of a tensor as float32, each a finite number.</summary>
    /// <inheritdoc cref="FiniteFloats"/>
    internal float[] ReadFinite(SafetensorsEntry entry)
    {
        if (entry.Length > Array.MaxLength)
            throw new NolaException(
                $"{Path}: tensor '{entry.Name}' has {entry.Length} elements, more than this version reads.");
        float[] values = new float[entry.Length];
        FiniteFloats(entry, 0, values);
        return values;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (disposed) return;
        disposed = true;
        view?.SafeMemoryMappedViewHandle.ReleasePointer();
        view?.Dispose();
        file?.Dispose();
        owner?.Dispose();
    }
}
