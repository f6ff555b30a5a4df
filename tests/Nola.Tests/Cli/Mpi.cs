using System.Diagnostics;
using Xunit;

namespace Nola.Tests;

/// <summary>The launchers of MPI that are installed, and the tool on ranks that they start.</summary>
internal static class Mpi
{
    /// <summary>Launchers by what they are called in tests; null where one is not installed.</summary>
    public static IReadOnlyDictionary<string, string?> Launchers { get; } = new Dictionary<string, string?>
    {
        ["Open MPI"] = Find(text => text.Contains("Open MPI") || text.Contains("OpenRTE"), "mpirun.openmpi", "mpirun"),
        ["MPICH"] = Find(text => text.Contains("HYDRA"), "mpirun.mpich", "mpiexec.hydra", "mpirun"),
    };

    /// <summary>Starts the tool on some ranks.</summary>
    /// <param name="launcher">Whose.</param>
    /// <param name="ranks">How many.</param>
    /// <param name="arguments">Of the tool.</param>
    /// <param name="own">Of the launcher.</param>
    /// <param name="environment">Of both.</param>
    public static Process Start(
        string launcher, int ranks, string[] arguments, string[] own, params (string Name, string Value)[] environment)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "nola.dll");
        ProcessStartInfo info = new(Launchers[launcher]!, [.. own, "-n", $"{ranks}", "dotnet", program, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        // Containers are root, and machines of tests have few cores.
        string[] needed = ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"];
        foreach (string variable in needed)
            info.Environment[variable] = "1";
        info.Environment["PRTE_MCA_rmaps_default_mapping_policy"] = ":oversubscribe";
        // What ranks write must be what one process writes, also where a launcher gives them a terminal of its own.
        info.Environment["TERM"] = "xterm";
        foreach ((string name, string value) in environment) info.Environment[name] = value;
        return Process.Start(info)!;
    }

    /// <summary>Runs the tool on some ranks to its end.</summary>
    public static (int Code, string Output, string Error) Run(
        string launcher, int ranks, string[] arguments, params (string Name, string Value)[] environment)
    {
        using Process process = Start(launcher, ranks, arguments, [], environment);
        process.StandardInput.Close();
        return End(process);
    }

    /// <summary>Waits for the end of what was started.</summary>
    public static (int Code, string Output, string Error) End(Process process)
    {
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        process.WaitForExit();
        return (process.ExitCode, output.Result, error.Result);
    }

    private static string? Find(Func<string, bool> isIt, params string[] names)
    {
        foreach (string name in names)
            try
            {
                using Process process = Process.Start(new ProcessStartInfo(name, "--version")
                {
                    RedirectStandardOutput = true,
                    RedirectStandardError = true,
                    UseShellExecute = false,
                })!;
                Task<string> error = process.StandardError.ReadToEndAsync();
                if (isIt(process.StandardOutput.ReadToEnd() + error.Result)) return name;
            }
            catch (System.ComponentModel.Win32Exception)
            {
            }
        return null;
    }
}

/// <summary>A test that needs a launcher of MPI, and is skipped with a word where there is none.</summary>
internal sealed class MpiTheoryAttribute : TheoryAttribute
{
    /// <summary>Looks for launchers.</summary>
    public MpiTheoryAttribute()
    {
        string[] missing = [.. Mpi.Launchers.Where(one => one.Value is null).Select(one => one.Key)];
        if (missing.Length > 0) Skip = $"No mpirun of {string.Join(" and ", missing)} is installed (Debian: openmpi-bin, mpich).";
    }
}
