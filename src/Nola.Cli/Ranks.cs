using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary>Commands whose work several processes share, when <c>mpirun</c> or <c>srun</c> starts them.</summary>
internal static class Ranks
{
    /// <summary>
    /// Runs a command on all ranks; where nobody started several, on this process alone. Rank 0 alone speaks. A rank that fails has the
    /// others end as well.
    /// </summary>
    public static int Run(Func<ICollective, int> work)
    {
        // Open MPI gives ranks a terminal of its own, also where what they print goes into a file: no codes of terminals belong there.
        if (Launch.Read(Environment.GetEnvironmentVariable) is not null) Environment.SetEnvironmentVariable("TERM", "dumb");
        TextWriter output = Console.Out, error = Console.Error;
        int code = 0;
        using ICollective ranks = MpiCollective.Open(OnStuck, Terminal.Say);
        if (ranks.Rank > 0)
        {
            Console.SetOut(TextWriter.Null);
            Console.SetError(TextWriter.Null);
        }
        try
        {
            code = work(ranks);
            ranks.Complete();
            return code;
        }
        catch (Exception fault) when (ranks.Size > 1)
        {
            string what = fault is NolaException ? fault.Message : $"{fault.GetType().Name}: {fault.Message}";
            bool isTold = ranks.Fail(NolaException.OneLine(what));
            if (ranks.Rank > 0 && isTold) return 1;
            Console.SetOut(output);
            Console.SetError(error);
            throw;
        }

        void OnStuck(string? sentence)
        {
            if (sentence is null) Environment.Exit(code);
            Console.SetError(error);
            Terminal.Say($"nola: {sentence}");
            Environment.Exit(1);
        }
    }

    /// <summary>
    /// The device of a rank: of a machine's GPUs its own, in turn, unless the one that it can see was chosen for it, as Slurm does.
    /// </summary>
    public static string Device(ICollective ranks, string name)
    {
        int comma = name.IndexOf(',');
        (string place, string products) = comma < 0 ? (name, "") : (name[..comma], name[comma..]);
        if (ranks.LocalSize == 1 || place is not ("auto" or "cuda")) return name;
        int cards = CudaDriver.Look().Cards.Count;
        return cards > 1 ? $"cuda:{ranks.LocalRank % cards}{products}" : name;
    }

    /// <summary>Threads of a rank where none are given: its part of the processors that it may use together with other ranks.</summary>
    public static int Threads(ICollective ranks, int given)
    {
        if (given > 0 || ranks.Size == 1) return given;
        int processors = Environment.ProcessorCount;
        bool bySlurm = StrictNumber.TryWhole(Environment.GetEnvironmentVariable("SLURM_CPUS_PER_TASK") ?? "", out int own) && own > 0;
        return Math.Max(1, bySlurm ? Math.Min(own, processors) : processors / ranks.Sharing);
    }
}
