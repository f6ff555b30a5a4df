using System.Runtime.InteropServices;

namespace Nola.Tensors;

/// <summary>One growing, 64-byte aligned buffer per thread for what a kernel needs while it runs.</summary>
internal static unsafe class Scratch
{
    [ThreadStatic]
    private static float* buffer;

    [ThreadStatic]
    private static long capacity;

    /// <summary>
    /// At least <paramref name="count"/> floats, content undefined. The next call on the same thread may return the
    /// same memory, so a kernel asks once for everything and divides it.
    /// </summary>
    public static float* Floats(long count)
    {
        if (count > capacity)
        {
            HostMemory.Free(buffer);
            buffer = null;
            capacity = 0;
            buffer = (float*)HostMemory.Allocate((nuint)(count * sizeof(float)));
            capacity = count;
        }
        return buffer;
    }

    /// <summary>Rounds a count of floats up so that what follows stays 64-byte aligned.</summary>
    public static int Align(int count) => (count + 15) & ~15;
}
