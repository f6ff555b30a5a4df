using System.Numerics;

namespace Nola.Tensors;

/// <summary>
/// Free lists of device memory by size class, with counters. A step frees its tensors here and the next step takes
/// them again, so that a steady loop allocates nothing. Batches of slightly different lengths share buffers: sizes are
/// rounded up by at most an eighth (3 % from 1 MiB on), and a free block up to a quarter too large is taken before a new
/// one. Not thread-safe: one thread drives a device.
/// </summary>
/// <param name="device">Name of the device, for messages.</param>
/// <param name="allocate">Takes fresh memory; returns null when there is none.</param>
/// <param name="free">Gives memory back to the system.</param>
public sealed class MemoryPool(string device, Func<long, Storage?> allocate, Action<Storage> free)
{
    private readonly Dictionary<long, Stack<Storage>> lists = [];
    private bool closed;

    /// <summary>Bytes in tensors that are alive.</summary>
    public long LiveBytes { get; private set; }

    /// <summary>Bytes kept for reuse.</summary>
    public long PooledBytes { get; private set; }

    /// <summary>The largest <see cref="LiveBytes"/> since the last <see cref="ResetPeak"/>.</summary>
    public long PeakBytes { get; private set; }

    /// <summary>Tensors that are alive.</summary>
    public int LiveCount { get; private set; }

    /// <summary>How often fresh memory was taken from the system; constant in a steady loop.</summary>
    public int FreshAllocations { get; private set; }

    /// <summary>Told before memory is taken, how many bytes are wanted; what it throws is what the caller gets.</summary>
    internal Action<long>? Renting { get; set; }

    /// <summary>Starts a new measurement of <see cref="PeakBytes"/>.</summary>
    public void ResetPeak() => PeakBytes = LiveBytes;

    /// <summary>Memory of at least <paramref name="bytes"/> bytes, content undefined.</summary>
    /// <exception cref="NolaException">The device has no such memory; the message says what was wanted and what to lower.</exception>
    public Storage Rent(long bytes)
    {
        Renting?.Invoke(bytes);
        long size = SizeClass(bytes);
        Storage storage = Reuse(size) ?? Fresh(size);
        storage.Home = this;
        LiveBytes += storage.Bytes;
        LiveCount++;
        PeakBytes = Math.Max(PeakBytes, LiveBytes);
        return storage;
    }

    /// <summary>Puts memory back for the next <see cref="Rent"/> of its size class.</summary>
    public void Return(Storage storage)
    {
        LiveBytes -= storage.Bytes;
        LiveCount--;
        if (closed)
        {
            free(storage);
            return;
        }
        PooledBytes += storage.Bytes;
        if (!lists.TryGetValue(storage.Bytes, out Stack<Storage>? list)) lists[storage.Bytes] = list = new();
        list.Push(storage);
    }

    /// <summary>Gives all memory that is not in use back to the system.</summary>
    public void Trim()
    {
        foreach (Stack<Storage> list in lists.Values)
            foreach (Storage storage in list)
                free(storage);
        lists.Clear();
        PooledBytes = 0;
    }

    /// <summary>Gives everything back to the system: now what is not in use, and the rest when it is returned.</summary>
    internal void Close()
    {
        closed = true;
        Trim();
    }

    // Of this class, or of one of the next few: batches vary in length, and a block that is a little too large is better
    // than one more from the system.
    private Storage? Reuse(long size)
    {
        for (long limit = size + size / 4; size <= limit; size = SizeClass(size + 1))
        {
            if (!lists.TryGetValue(size, out Stack<Storage>? list) || list.Count == 0) continue;
            PooledBytes -= size;
            return list.Pop();
        }
        return null;
    }

    private Storage Fresh(long size)
    {
        Storage? storage = allocate(size);
        if (storage is null)
        {
            Trim();
            storage = allocate(size);
        }
        FreshAllocations++;
        return storage ?? throw new NolaException(
            $"Out of memory on {device}: wanted {Mebibytes(size)}, with {Mebibytes(LiveBytes)} live in {LiveCount} tensors. "
            + "Lower the number of tokens in a batch, the sequence length or the model size.")
        {
            Options = ["BatchTokens"],
        };
    }

    private static string Mebibytes(long bytes) => $"{bytes / 1048576.0:F1} MiB";

    // Eight classes between neighboring powers of two, at least one cache line apart; 32 where rounding costs megabytes.
    private static long SizeClass(long bytes)
    {
        if (bytes <= 512) return Math.Max(64, (bytes + 63) & ~63L);
        long step = (1L << BitOperations.Log2((ulong)bytes)) / (bytes < 1 << 20 ? 8 : 32);
        return (bytes + step - 1) / step * step;
    }
}
