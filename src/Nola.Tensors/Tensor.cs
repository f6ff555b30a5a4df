namespace Nola.Tensors;

/// <summary>
/// A dense row-major array on one device: shape, element type and memory. There are no views and no strides; a kernel
/// that works on part of a tensor takes a <see cref="Matrix"/>. Whoever creates a tensor with
/// <see cref="Device.Empty"/> owns it and disposes it; its memory then goes back to the device's pool.
/// Tensors have no finalizer.
/// </summary>
public sealed class Tensor : IDisposable
{
    private Storage? storage;

    internal Tensor(Device device, Shape shape, DType type, Storage storage)
    {
        Device = device;
        Shape = shape;
        DType = type;
        this.storage = storage;
    }

    /// <summary>Dimensions, outermost first.</summary>
    public Shape Shape { get; }

    /// <summary>Element type.</summary>
    public DType DType { get; }

    /// <summary>Where the elements are.</summary>
    public Device Device { get; }

    /// <summary>Number of elements.</summary>
    public int Length => Shape.Length;

    /// <summary>Bytes of all elements.</summary>
    public long Bytes => (long)Length * DType.Size();

    /// <summary>Whether the memory has been given back.</summary>
    public bool IsDisposed => storage is null;

    internal Storage Storage => storage
        ?? throw new ObjectDisposedException(nameof(Tensor), $"Tensor {Shape} was disposed: its tape ended or its owner released it.");

    /// <summary>Copies float32 elements to the host.</summary>
    public float[] ToArray()
    {
        float[] result = new float[Length];
        Device.Download(this, result);
        return result;
    }

    /// <summary>Copies int32 elements to the host.</summary>
    public int[] ToInt32Array()
    {
        int[] result = new int[Length];
        Device.Download(this, result);
        return result;
    }

    /// <summary>Copies float32 elements into <paramref name="destination"/>, whose length must be <see cref="Length"/>.</summary>
    public void CopyTo(Span<float> destination) => Device.Download(this, destination);

    /// <summary>The single float32 element of a scalar.</summary>
    /// <exception cref="ShapeException">The tensor has more than one element.</exception>
    public float Item()
    {
        if (Length != 1) throw new ShapeException($"Item: tensor has shape {Shape}; expected one element.");
        Span<float> value = stackalloc float[1];
        Device.Download(this, value);
        return value[0];
    }

    /// <summary>Gives the memory back to the pool. Safe to call twice.</summary>
    public void Dispose()
    {
        if (storage is not { } memory) return;
        storage = null;
        memory.Home!.Return(memory);
    }
}

/// <summary>Memory of one tensor on one device, a little larger than asked for so that it can be used again.</summary>
public abstract class Storage
{
    /// <summary>Usable bytes.</summary>
    public abstract long Bytes { get; }

    /// <summary>The pool that gave it out, and gets it back.</summary>
    internal MemoryPool? Home { get; set; }
}

/// <summary>
/// A rectangle inside a float32 tensor, for kernel arguments: element (i, j) is at
/// <c>Offset + i · Stride + j</c>. What an adapter needs to write the q columns of a fused qkv product, and a mixed
/// factor to be one layer's part of a stacked tensor.
/// </summary>
/// <param name="Tensor">The tensor that holds the rectangle.</param>
/// <param name="Rows">Number of rows.</param>
/// <param name="Columns">Number of columns.</param>
/// <param name="Offset">Index of element (0, 0) in the tensor.</param>
/// <param name="Stride">Elements between the starts of neighboring rows.</param>
public readonly record struct Matrix(Tensor Tensor, int Rows, int Columns, int Offset, int Stride)
{
    /// <summary>The whole tensor as a matrix of its last dimension: (B, T, C) reads as (B·T, C).</summary>
    public static implicit operator Matrix(Tensor tensor) =>
        new(tensor, tensor.Shape.Rows, tensor.Shape.Columns, 0, tensor.Shape.Columns);

    /// <summary>One matrix of a stack: of (L, rows, columns), that of index <paramref name="index"/>.</summary>
    public static Matrix OfStack(Tensor stacked, int index)
    {
        (int rows, int columns) = (stacked.Shape[1], stacked.Shape[2]);
        return new(stacked, rows, columns, index * rows * columns, columns);
    }

    /// <summary>All rows, columns <paramref name="start"/> … <paramref name="start"/> + <paramref name="count"/> − 1.</summary>
    public Matrix SliceColumns(int start, int count)
    {
        if (start < 0 || count < 0 || start + count > Columns)
            throw new ShapeException($"SliceColumns: columns {start} … {start + count - 1} of a matrix with {Columns} columns.");
        return this with { Columns = count, Offset = Offset + start };
    }

    /// <summary>All columns, rows <paramref name="start"/> … <paramref name="start"/> + <paramref name="count"/> − 1.</summary>
    public Matrix SliceRows(int start, int count)
    {
        if (start < 0 || count < 0 || start + count > Rows)
            throw new ShapeException($"SliceRows: rows {start} … {start + count - 1} of a matrix with {Rows} rows.");
        return this with { Rows = count, Offset = Offset + start * Stride };
    }

    /// <summary>For example <c>(2048, 768)</c>.</summary>
    public override string ToString() => $"({Rows}, {Columns})";
}
