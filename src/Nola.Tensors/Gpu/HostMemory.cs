using System.Runtime.InteropServices;
using ILGPU.Runtime;

namespace Nola.Tensors;

/// <summary>
/// Host memory that copies of a stream read or write: page-locked, which lets them overlap with kernels, or where the system
/// does not lock it (containers with a low limit, WSL), memory that only stays where it is. The driver then copies it first,
/// which is slower and no less right.
/// </summary>
internal sealed class HostMemory<T> : IDisposable where T : unmanaged
{
    private readonly PageLockedArray1D<T>? locked;
    private readonly T[]? plain;

    /// <summary>Takes room for <paramref name="length"/> elements.</summary>
    public HostMemory(Accelerator accelerator, int length)
    {
        try
        {
            locked = accelerator.AllocatePageLocked1D<T>(length);
        }
        catch (AcceleratorException)
        {
            plain = GC.AllocateArray<T>(length, pinned: true);
        }
    }

    /// <summary>Whether the system locked its pages.</summary>
    public bool IsPageLocked => locked is not null;

    /// <summary>The elements.</summary>
    public Span<T> Span => locked is null ? plain : locked.Span;

    /// <summary>The first of some of its elements, for a copy.</summary>
    public ref T Reference(int first) => ref MemoryMarshal.GetReference(Span[first..]);

    /// <inheritdoc/>
    public void Dispose() => locked?.Dispose();
}
