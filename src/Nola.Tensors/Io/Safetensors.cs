using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

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
    private readonly byte* data;
    private bool disposed;

    private Safetensors(string path, byte* start, long length, MemoryMappedFile? file, MemoryMappedViewAccessor? view, IDisposable? owner)
    {
        (Path, this.file, this.view, this.owner) = (path, file, view, owner);
        if (length < 8) throw SafetensorsHeader.Bad(path, $"it has {length} bytes, fewer than the 8 of the header's length");
        ulong header = BinaryPrimitives.ReadUInt64LittleEndian(new ReadOnlySpan<byte>(start, 8));
        if (header > SafetensorsHeader.MaxLength)
            throw SafetensorsHeader.Bad(path, $"the header would be {header} bytes, above the limit of {SafetensorsHeader.MaxLength}");
        if ((long)header > length - 8) throw SafetensorsHeader.Bad(path, $"the header would be {header} bytes and the file has {length}");
        Entries = SafetensorsHeader.Parse(
            new ReadOnlySpan<byte>(start + 8, (int)header), length - 8 - (long)header, path, out Dictionary<string, string> metadata);
        Metadata = metadata;
        byName = Entries.ToDictionary(entry => entry.Name);
        data = start + 8 + header;
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
            return new Safetensors(path, start + view.PointerOffset, length, file, view, null);
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
        new(name, stream.PositionPointer, stream.Length - stream.Position, null, null, stream);

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
        byte* from = data + entry.Begin + first * (SafetensorsHeader.Bits(entry.Type) / 8);
        switch (entry.Type)
        {
            case "F32":
                new ReadOnlySpan<byte>(from, 4 * destination.Length).CopyTo(MemoryMarshal.AsBytes(destination));
                break;
            case "BF16":
                for (int i = 0; i < destination.Length; i++)
                    destination[i] = DTypes.FromBFloat16(BinaryPrimitives.ReadUInt16LittleEndian(new(from + 2 * i, 2)));
                break;
            case "F16":
                for (int i = 0; i < destination.Length; i++)
                    destination[i] = (float)BinaryPrimitives.ReadHalfLittleEndian(new(from + 2 * i, 2));
                break;
            case "F64":
                for (int i = 0; i < destination.Length; i++)
                    destination[i] = (float)BinaryPrimitives.ReadDoubleLittleEndian(new(from + 8 * i, 8));
                break;
            default:
                throw new NolaException($"{Path}: tensor '{entry.Name}' is {entry.Type}; expected F32, BF16, F16 or F64.");
        }
    }

    /// <summary>
    /// Elements <paramref name="first"/> … as float32, each a finite number: F32 where they are in the file, others in
    /// <paramref name="buffer"/>, whose length says how many. Valid until the buffer is used again or this is disposed.
    /// </summary>
    /// <exception cref="NolaException">The type is another one, or an element is not finite; the message names the tensor.</exception>
    internal ReadOnlySpan<float> FiniteFloats(SafetensorsEntry entry, long first, Span<float> buffer)
    {
        ReadOnlySpan<float> values = buffer;
        byte* from = data + entry.Begin + first * sizeof(float);
        bool mapped = entry.Type == "F32" && (nuint)from % sizeof(float) == 0 && first >= 0 && first + buffer.Length <= entry.Length;
        ObjectDisposedException.ThrowIf(disposed, this);
        if (mapped) values = new(from, buffer.Length);
        else ReadFloats(entry, first, buffer);
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
        FiniteFloats(entry, 0, values).CopyTo(values);
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
