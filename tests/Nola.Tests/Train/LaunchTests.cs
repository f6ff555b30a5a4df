using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>What the environment promises, and what is said where MPI does not keep it.</summary>
public sealed class LaunchTests
{
    [Theory]
    [InlineData("", 0, "")]
    [InlineData("OMPI_COMM_WORLD_SIZE=1", 0, "")]
    [InlineData("OMPI_COMM_WORLD_SIZE=4", 4, "OMPI_COMM_WORLD_SIZE")]
    [InlineData("PMI_SIZE=3", 3, "PMI_SIZE")]
    [InlineData("SLURM_STEP_NUM_TASKS=8 SLURM_NTASKS=16", 8, "SLURM_STEP_NUM_TASKS")]
    [InlineData("SLURM_NTASKS=4 SLURM_STEP_ID=0", 4, "SLURM_NTASKS")]
    [InlineData("SLURM_NTASKS=4 PMIX_RANK=0", 4, "SLURM_NTASKS")]
    // A batch script of four tasks that runs the program by itself; mpirun with two ranks in an allocation of four tasks.
    [InlineData("SLURM_NTASKS=4", 0, "")]
    [InlineData("SLURM_NTASKS=4 SLURM_STEP_ID=0 OMPI_COMM_WORLD_SIZE=2", 2, "OMPI_COMM_WORLD_SIZE")]
    [InlineData("OMPI_COMM_WORLD_SIZE=1 PMI_SIZE=4", 0, "")]
    [InlineData("PMI_SIZE=many", 0, "")]
    public void A_promise_is_that_of_the_innermost_launcher(string environment, int ranks, string variable)
    {
        Launch? launch = Launch.Read(Of(environment));
        Assert.Equal(ranks == 0 ? null : new Launch(ranks, variable), launch);
    }

    [Theory]
    [InlineData("OMPI_COMM_WORLD_SIZE=2", "libmpi.so.40")]
    [InlineData("PMI_SIZE=2", "libmpi.so.12")]
    [InlineData("SLURM_STEP_NUM_TASKS=2 PMIX_RANK=1", "libmpi.so.40")]
    [InlineData("SLURM_STEP_NUM_TASKS=2 PMI_SIZE=2 SLURM_MPI_TYPE=pmi2", "libmpi.so.12")]
    [InlineData("PMI_SIZE=2 NOLA_MPI=/opt/mpi/libmpi.so", "/opt/mpi/libmpi.so")]
    public void The_library_of_the_launcher_is_tried_first(string environment, string first)
    {
        if (!OperatingSystem.IsLinux()) return;
        IReadOnlyList<string> libraries = Launch.Libraries(Of(environment));
        Assert.Equal(first, libraries[0]);
        Assert.Equal(environment.Contains("NOLA_MPI") ? 1 : 5, libraries.Count);
    }

    [Fact]
    public void Libraries_that_are_not_there_are_named_with_what_to_install()
    {
        Assert.Null(MpiLibrary.Load(["libno-such-mpi.so.1", "libnone.so"], out string tried));
        Assert.Equal("libno-such-mpi.so.1, libnone.so", tried);
        NolaException error = new Launch(4, "PMI_SIZE").Missing(tried);
        Assert.Equal(
            "PMI_SIZE promises 4 ranks and no MPI library was found (libno-such-mpi.so.1, libnone.so). Install Open MPI or MPICH (Debian: "
            + "openmpi-bin or mpich), load the cluster's module, or name the library in NOLA_MPI.", error.Message);
    }

    [Fact]
    public void A_launcher_of_another_MPI_is_explained() => Assert.Equal(
        "SLURM_NTASKS promises 4 ranks and Open MPI v4.1.4 has 1: each process would train by itself. Start it with the launcher of this "
        + "MPI; under Slurm set SLURM_MPI_TYPE=pmix for srun (pmi2 for MPICH and Intel); or name the launcher's library in NOLA_MPI.",
        new Launch(4, "SLURM_NTASKS").Mismatch(1, "Open MPI v4.1.4").Message);

    private static Func<string, string?> Of(string environment)
    {
        Dictionary<string, string> values = environment.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(pair => pair.Split('=')).ToDictionary(pair => pair[0], pair => pair[1]);
        return name => values.GetValueOrDefault(name);
    }
}
