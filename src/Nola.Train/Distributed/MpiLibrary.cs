using System.Runtime.InteropServices;
using System.Text;

namespace Nola.Train;

/// <summary>
/// The MPI that is installed, found at run time. What differs between implementations is how they name the group of all ranks and the
/// type of a byte: Open MPI by addresses, MPICH and its kin by numbers, and the standard ABI of MPI 5 by other numbers.
/// </summary>
internal sealed unsafe class MpiLibrary
{
    /// <summary>The variable of the environment that names a library.</summary>
    public const string Variable = "NOLA_MPI";

    // Calls from one thread at a time, whichever it is.
    private const int Serialized = 2, SerializedOfAbi = 2048;

    private const int LongestVersion = 8192;

    // Of MPICH, Intel MPI and others that share their ABI; and of MPI 5.
    private static readonly (nint World, nint Byte) mpich = (0x44000000, 0x4c00010d), abi = (0x101, 0x247);

    private readonly nint handle, world, bytes;
    private readonly int serialized;
    private readonly delegate* unmanaged<void*, int, nint, void*, int, nint, nint, nint*, int> allGather;
    private readonly delegate* unmanaged<void*, int, nint, int, nint, nint*, int> broadcast;
    private readonly delegate* unmanaged<nint, nint*, int> barrier;
    private readonly delegate* unmanaged<nint*, int*, void*, int> test;

    private MpiLibrary(nint handle, string name)
    {
        (this.handle, Name) = (handle, name);
        bool isAbi = Path.GetFileName(name).StartsWith("libmpi_abi", StringComparison.Ordinal);
        serialized = isAbi ? SerializedOfAbi : Serialized;
        (world, bytes) = isAbi ? abi
            : NativeLibrary.TryGetExport(handle, "ompi_mpi_comm_world", out nint open)
                ? (open, NativeLibrary.GetExport(handle, "ompi_mpi_byte"))
                : mpich;
        allGather = (delegate* unmanaged<void*, int, nint, void*, int, nint, nint, nint*, int>)Export("MPI_Iallgather");
        broadcast = (delegate* unmanaged<void*, int, nint, int, nint, nint*, int>)Export("MPI_Ibcast");
        barrier = (delegate* unmanaged<nint, nint*, int>)Export("MPI_Ibarrier");
        test = (delegate* unmanaged<nint*, int*, void*, int>)Export("MPI_Test");
    }

    /// <summary>The file that was loaded.</summary>
    public string Name { get; }

    /// <summary>Loads the first of some libraries that is there and has what is needed.</summary>
    /// <param name="names">Their names or paths.</param>
    /// <param name="tried">Which were tried; with what is wrong where one is there and cannot be used.</param>
    /// <returns>The library; null where there is none.</returns>
    public static MpiLibrary? Load(IEnumerable<string> names, out string tried)
    {
        List<string> looked = [];
        foreach (string name in names)
        {
            looked.Add(name);
            if (!NativeLibrary.TryLoad(name, out nint handle)) continue;
            try
            {
                tried = name;
                return new MpiLibrary(handle, name);
            }
            catch (EntryPointNotFoundException)
            {
                looked[^1] += ", which lacks functions of MPI 3";
            }
        }
        tried = string.Join(", ", looked);
        return null;
    }

    /// <summary>Begins; returns rank and size.</summary>
    public (int Rank, int Size) Start()
    {
        int provided, rank, size;
        ((delegate* unmanaged<void*, void*, int, int*, int>)Export("MPI_Init_thread"))(null, null, serialized, &provided);
        ((delegate* unmanaged<nint, int*, int>)Export("MPI_Comm_rank"))(world, &rank);
        ((delegate* unmanaged<nint, int*, int>)Export("MPI_Comm_size"))(world, &size);
        return (rank, size);
    }

    /// <summary>What the library says of itself, in a few words.</summary>
    public string Version()
    {
        byte* text = stackalloc byte[LongestVersion + 1];
        int length;
        ((delegate* unmanaged<byte*, int*, int>)Export("MPI_Get_library_version"))(text, &length);
        string whole = Encoding.UTF8.GetString(text, Math.Clamp(length, 0, LongestVersion)).TrimEnd('\0');
        string first = whole.Split('\n', ',')[0].Replace('\t', ' ');
        return string.Join(' ', first.Split(' ', StringSplitOptions.RemoveEmptyEntries));
    }

    /// <summary>Begins to give every rank the bytes of all.</summary>
    public void AllGather(byte* mine, byte* all, int count, nint* request) =>
        allGather(mine, count, bytes, all, count, bytes, world, request);

    /// <summary>Begins to give every rank the bytes of rank 0.</summary>
    public void Broadcast(byte* data, int count, nint* request) => broadcast(data, count, bytes, 0, world, request);

    /// <summary>Begins to wait for all.</summary>
    public void Barrier(nint* request) => barrier(world, request);

    /// <summary>Whether what was begun is done.</summary>
    public bool Test(nint* request)
    {
        // A status is 20 to 40 bytes, by implementation.
        byte* status = stackalloc byte[64];
        int done = 0;
        test(request, &done, status);
        return done != 0;
    }

    /// <summary>Ends; all ranks must be there.</summary>
    public void Finish() => ((delegate* unmanaged<int>)Export("MPI_Finalize"))();

    /// <summary>Has the launcher end all ranks.</summary>
    public void Abort() => ((delegate* unmanaged<nint, int, int>)Export("MPI_Abort"))(world, 1);

    private nint Export(string name) => NativeLibrary.GetExport(handle, name);
}
