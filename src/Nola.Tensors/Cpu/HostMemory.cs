using System.Runtime.InteropServices;

namespace Nola.Tensors;

/// <summary>
/// Memory of the host for tensors and scratch. Large blocks ask for huge pages, which Linux gives only on request by default: a
/// product walks through megabytes of operands, and with pages of 4 KiB the translation of addresses costs it several percent.
/// </summary>
internal static unsafe partial class HostMemory
{
    private const nuint HugePage = 2 << 20, Line = 64;

    // MADV_HUGEPAGE
    private const int HugePages = 14;

    /// <summary>At least <paramref name="bytes"/> bytes, aligned to a cache line, content undefined.</summary>
    /// <exception cref="OutOfMemoryException">There is no such memory.</exception>
    public static void* Allocate(nuint bytes)
    {
        if (!OperatingSystem.IsLinux() || bytes < HugePage)
            return NativeMemory.AlignedAlloc(bytes, Line);
        void* memory = NativeMemory.AlignedAlloc(bytes, HugePage);
        // A wish: where it cannot be fulfilled, the pages are small ones.
        _ = Advise(memory, bytes, HugePages);
        return memory;
    }

    /// <summary>Gives back what <see cref="Allocate"/> gave.</summary>
    public static void Free(void* memory) => NativeMemory.AlignedFree(memory);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint length, int advice);
}
