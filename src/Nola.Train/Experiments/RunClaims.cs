using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Which rank does which run of an experiment: each takes the next one that nobody has, so that none waits for a slower one. A run is
/// taken by a file that only one process can create, on a disk of one machine as on one that many share.
/// </summary>
internal sealed class RunClaims
{
    private readonly string? directory;

    /// <summary>Begins with nothing taken. All ranks come here.</summary>
    /// <param name="root">Directory of all runs, which rank 0 holds for this experiment alone.</param>
    /// <param name="ranks">Who shares the runs.</param>
    /// <exception cref="NolaException">The directory cannot be written.</exception>
    public RunClaims(string root, ICollective ranks)
    {
        string claims = Path.Combine(root, ".claims");
        // Of an experiment that was killed.
        if (ranks.Rank == 0) AtomicFile.DeleteDirectory(claims);
        if (ranks.Size == 1) return;
        directory = claims;
        if (ranks.Rank == 0) AtomicFile.EnsureDirectory(claims);
        ranks.Barrier();
    }

    /// <summary>Takes a run, unless another rank has it.</summary>
    /// <param name="run">The run.</param>
    /// <returns>Whether it is this rank's now.</returns>
    /// <exception cref="NolaException">The directory cannot be written.</exception>
    public bool Take(ExperimentRun run)
    {
        if (directory is null) return true;
        string file = Path.Combine(directory, Path.GetFileName(run.Folder));
        try
        {
            using FileStream made = new(file, FileMode.CreateNew, FileAccess.Write);
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return File.Exists(file) ? false : throw new NolaException(AtomicFile.Sentence(file, error), error);
        }
    }

    /// <summary>Ends it, when all ranks are done.</summary>
    public void Clear()
    {
        if (directory is not null) AtomicFile.DeleteDirectory(directory);
    }
}
