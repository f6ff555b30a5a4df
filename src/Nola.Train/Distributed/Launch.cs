using Nola.Tensors;

namespace Nola.Train;

/// <summary>What the environment says about how this process was started.</summary>
/// <param name="Ranks">How many ranks it promises.</param>
/// <param name="Variable">What says so.</param>
internal sealed record Launch(int Ranks, string Variable)
{
    // Who starts ranks, in the order in which one may run inside the other: mpirun of Open MPI; that of MPICH and Intel; srun.
    private static readonly string[] promises = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

    /// <summary>Reads it; null where nobody promises several ranks.</summary>
    /// <param name="get">The value of a variable of the environment.</param>
    public static Launch? Read(Func<string, string?> get)
    {
        foreach (string variable in promises)
            if (Whole(get(variable)) is { } ranks) return ranks > 1 ? new(ranks, variable) : null;
        // A batch script of several tasks that runs the program by itself is one process; a step of srun is not.
        bool isStep = get("SLURM_STEP_ID") is not null || get("PMIX_RANK") is not null;
        return isStep && Whole(get("SLURM_NTASKS")) is { } tasks && tasks > 1 ? new(tasks, "SLURM_NTASKS") : null;
    }

    /// <summary>Libraries to try, the one that this launcher is most likely of first.</summary>
    /// <param name="get">The value of a variable of the environment.</param>
    public static IReadOnlyList<string> Libraries(Func<string, string?> get)
    {
        if (get(MpiLibrary.Variable) is { Length: > 0 } named) return [named];
        bool hydra = get("OMPI_COMM_WORLD_SIZE") is null && get("PMIX_RANK") is null
            && (get("PMI_SIZE") is not null || get("SLURM_MPI_TYPE") is "pmi2" or "cray_shasta");
        string[] open = ["libmpi.so.40"], mpich = ["libmpi.so.12", "libmpich.so.12"], any = ["libmpi_abi.so.0", "libmpi.so"];
        if (OperatingSystem.IsMacOS())
        {
            (open, mpich) = (["libmpi.40.dylib"], ["libmpi.12.dylib"]);
            any = ["libmpi_abi.dylib", "libmpi.dylib"];
        }
        return hydra ? [.. mpich, .. any, .. open] : [.. open, .. any, .. mpich];
    }

    /// <summary>What is said where MPI has fewer ranks than the environment promises.</summary>
    /// <param name="size">How many it has.</param>
    /// <param name="library">What the library says of itself.</param>
    public NolaException Mismatch(int size, string library) => new(
        $"{Variable} promises {Ranks} ranks and {library} has {size}: each process would train by itself. Start it with the launcher of "
        + "this MPI; under Slurm set SLURM_MPI_TYPE=pmix for srun (pmi2 for MPICH and Intel); or name the launcher's library in "
        + $"{MpiLibrary.Variable}.");

    /// <summary>What is said where there is no MPI.</summary>
    /// <param name="tried">What was looked for, with what went wrong.</param>
    public NolaException Missing(string tried) => new(
        $"{Variable} promises {Ranks} ranks and no MPI library was found ({tried}). Install Open MPI or MPICH (Debian: openmpi-bin or "
        + $"mpich), load the cluster's module, or name the library in {MpiLibrary.Variable}.");

    private static int? Whole(string? text) => StrictNumber.TryWhole(text ?? "", out int value) && value > 0 ? value : null;
}
