using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

/// <summary>Asks for memory before it is read.</summary>
internal static unsafe class Fetch
{
    // Past what the chip fetches by itself, and little enough to be there still when it is read.
    private const int Distance = 2048;

    /// <summary>
    /// Asks for what a stream of weights will read soon. One row is multiplied with each weight once, so it waits for nothing but memory;
    /// asking beyond the end of an array does no harm.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Ahead(void* stream)
    {
        if (Sse.IsSupported) Sse.Prefetch0((byte*)stream + Distance);
    }
}
