using ILGPU;
using ILGPU.Runtime;

namespace Nola.Tensors;

/// <summary>
/// Page-locked host memory that uploads pass through: the caller's data is copied here at once and to the device when the
/// stream gets there, so an upload does not wait for the kernels before it. It is filled in order, and from its start again
/// whenever somebody has waited for the stream, as a loop does that reads its losses every few steps; the stream is waited
/// for here only when more than all of it is uploaded between two such reads.
/// </summary>
internal sealed class Staging(Accelerator accelerator, AcceleratorStream stream, int capacity, Action onWait) : IDisposable
{
    private readonly HostMemory<byte> memory = new(accelerator, capacity);
    private int used;

    /// <summary>Whether copies can overlap with kernels.</summary>
    public bool IsPageLocked => memory.IsPageLocked;

    /// <summary>Queues the copy of <paramref name="source"/>, which may change as soon as this returns.</summary>
    public void Upload(ReadOnlySpan<byte> source, ArrayView<byte> destination)
    {
        for (int done = 0; done < source.Length;)
        {
            if (used == capacity)
            {
                stream.Synchronize();
                onWait();
                Restart();
            }
            int count = Math.Min(source.Length - done, capacity - used);
            source.Slice(done, count).CopyTo(memory.Span[used..]);
            destination.SubView(done, count).CopyFromCPUUnsafeAsync(stream, ref memory.Reference(used), count);
            used += count;
            done += count;
        }
    }

    /// <summary>The stream has been waited for: no copy from this memory is under way.</summary>
    public void Restart() => used = 0;

    /// <inheritdoc/>
    public void Dispose() => memory.Dispose();
}
