using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace Nola.Tensors;

/// <summary>
/// Device memory taken in large blocks and given out in 256-byte aligned pieces, so that the driver is asked rarely and
/// every tensor can be read 128 bits at a time. The <see cref="MemoryPool"/> above keeps freed pieces, so this is asked
/// only for sizes that are new; first fit is enough.
/// </summary>
internal sealed class BlockAllocator(Accelerator accelerator, long blockBytes) : IDisposable
{
    private const long Alignment = 256;

    private readonly List<Block> blocks = [];

    /// <summary>Bytes taken from the driver.</summary>
    public long TakenBytes => blocks.Sum(b => b.Buffer.Length);

    /// <summary>A piece of at least <paramref name="bytes"/> bytes, or null when the device has none.</summary>
    /// <exception cref="AcceleratorException">The device failed before.</exception>
    public GpuStorage? Take(long bytes)
    {
        long size = Math.Max(Alignment, (bytes + Alignment - 1) / Alignment * Alignment);
        foreach (Block block in blocks)
            if (block.Take(size) is { } offset) return new GpuStorage(block, offset, size, bytes);
        if (NewBlock(Math.Max(size, blockBytes)) is not { } fresh) return null;
        return new GpuStorage(fresh, fresh.Take(size)!.Value, size, bytes);
    }

    /// <summary>Puts a piece back; a block without pieces goes back to the driver.</summary>
    public void Give(GpuStorage storage)
    {
        storage.Block.Give(storage.Offset, storage.Size);
        // After Dispose no block is left, and its buffer is gone already.
        if (storage.Block.IsEmpty && blocks.Remove(storage.Block)) Quietly.Dispose(storage.Block.Buffer);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Block block in blocks) Quietly.Dispose(block.Buffer);
        blocks.Clear();
    }

    private Block? NewBlock(long bytes)
    {
        try
        {
            Block block = new(accelerator.Allocate1D<byte>(bytes));
            blocks.Add(block);
            return block;
        }
        catch (Exception error) when (error is CudaException { Error: nameof(CudaError.CUDA_ERROR_OUT_OF_MEMORY) } or OutOfMemoryException)
        {
            return null;
        }
    }

    /// <summary>One allocation of the driver and the ranges of it that are free, in ascending order.</summary>
    internal sealed class Block(MemoryBuffer1D<byte, Stride1D.Dense> buffer)
    {
        private readonly List<(long Offset, long Size)> free = [(0, buffer.Length)];

        public MemoryBuffer1D<byte, Stride1D.Dense> Buffer => buffer;

        public bool IsEmpty => free is [(0, var size)] && size == buffer.Length;

        public long? Take(long size)
        {
            int i = free.FindIndex(range => range.Size >= size);
            if (i < 0) return null;
            (long offset, long available) = free[i];
            if (available == size) free.RemoveAt(i);
            else free[i] = (offset + size, available - size);
            return offset;
        }

        public void Give(long offset, long size)
        {
            int i = free.FindIndex(range => range.Offset > offset);
            if (i < 0) i = free.Count;
            free.Insert(i, (offset, size));
            Join(i);
            if (i > 0) Join(i - 1);
        }

        // One range of two neighbors that touch.
        private void Join(int i)
        {
            if (i + 1 >= free.Count || free[i].Offset + free[i].Size != free[i + 1].Offset) return;
            free[i] = (free[i].Offset, free[i].Size + free[i + 1].Size);
            free.RemoveAt(i + 1);
        }
    }
}

/// <summary>A piece of a block: the memory of one tensor on a GPU.</summary>
internal sealed class GpuStorage(BlockAllocator.Block block, long offset, long size, long bytes) : Storage
{
    public BlockAllocator.Block Block => block;

    public long Offset => offset;

    /// <summary>Bytes taken, with what alignment added.</summary>
    public long Size => size;

    public override long Bytes => bytes;

    /// <summary>The first <paramref name="length"/> elements.</summary>
    public ArrayView<T> View<T>(long length) where T : unmanaged =>
        block.Buffer.View.BaseView.SubView(offset, length * Interop.SizeOf<T>()).Cast<T>();
}
