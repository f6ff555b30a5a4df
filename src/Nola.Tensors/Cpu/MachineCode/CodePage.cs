using System.Runtime.InteropServices;

namespace Nola.Tensors;

/// <summary>
/// Machine code that can be called: a page that is written first and made executable afterwards, and is never both. On systems with the
/// POSIX calls and the System V calling convention.
/// </summary>
internal static unsafe partial class CodePage
{
    private const int Read = 1, Write = 2, Execute = 4, PrivateAnonymous = 0x22;

    /// <summary>Whether functions are called here as the code expects: on Linux with x86-64.</summary>
    public static bool IsSupported => OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64;

    /// <summary>Makes code callable, for as long as the process runs; null where the system forbids it.</summary>
    public static byte* Create(ReadOnlySpan<byte> code)
    {
        if (!IsSupported) return null;
        nuint length = (nuint)((code.Length + Environment.SystemPageSize - 1) / Environment.SystemPageSize * Environment.SystemPageSize);
        nint page = Map(0, length, Read | Write, PrivateAnonymous, -1, 0);
        if (page == -1) return null;
        code.CopyTo(new Span<byte>((void*)page, code.Length));
        if (Protect(page, length, Read | Execute) == 0) return (byte*)page;
        _ = Unmap(page, length);
        return null;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(nint address, nuint length);
}
