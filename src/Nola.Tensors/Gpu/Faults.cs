using ILGPU;
using ILGPU.Runtime;

namespace Nola.Tensors;

/// <summary>
/// What kernels found wrong with their data: the first fault's kind and numbers, in device memory. It is fetched with
/// every download, and thrown there.
/// </summary>
internal sealed class Faults(Accelerator accelerator, AcceleratorStream stream) : IDisposable
{
    public const int IndexOutside = 1, ListUnfit = 2;

    private const int Words = 5;

    private readonly MemoryBuffer1D<int, Stride1D.Dense> noted = Zeroed(accelerator, stream);
    private readonly HostMemory<int> fetched = new(accelerator, Words);

    /// <summary>What kernels get.</summary>
    public ArrayView<int> View => noted.View;

    /// <summary>Called by a kernel; only the first fault is kept.</summary>
    public static void Note(ArrayView<int> faults, int kind, int a, int b, int c, int d)
    {
        if (Atomic.CompareExchange(ref faults[0], 0, kind) != 0) return;
        faults[1] = a;
        faults[2] = b;
        faults[3] = c;
        faults[4] = d;
    }

    /// <summary>Queues the copy to the host.</summary>
    public void Fetch() => View.CopyToCPUUnsafeAsync(stream, ref fetched.Reference(0), Words);

    /// <summary>Throws what was fetched, once.</summary>
    public void Throw()
    {
        Span<int> word = fetched.Span;
        if (word[0] == 0) return;
        noted.MemSetToZero(stream);
        if (word[0] == ListUnfit) throw Device.ListUnfit(word[1], word[2], word[3], word[4]);
        throw new ArgumentOutOfRangeException("index", $"Row index {word[1]} is outside the table of {word[2]} rows.");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        fetched.Dispose();
        noted.Dispose();
    }

    private static MemoryBuffer1D<int, Stride1D.Dense> Zeroed(Accelerator accelerator, AcceleratorStream stream)
    {
        MemoryBuffer1D<int, Stride1D.Dense> buffer = accelerator.Allocate1D<int>(Words);
        buffer.MemSetToZero(stream);
        return buffer;
    }
}
