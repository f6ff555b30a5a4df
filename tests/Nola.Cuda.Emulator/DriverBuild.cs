using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;

namespace Nola.Cuda.Emulator;

/// <summary>The driver's library, compiled from the C beside this program into a directory of its own.</summary>
public static class DriverBuild
{
    /// <summary>Whether a C compiler is on the path and the machine is one that the driver's coroutines are written for.</summary>
    public static bool IsPossible =>
        OperatingSystem.IsLinux()
            && System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.X64
        && (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(p => File.Exists(Path.Combine(p, "cc")));

    /// <summary>Why not, for those who skip a test.</summary>
    public const string Missing = "SKIPPED: no C compiler (cc) on the path, or not Linux on x64; nothing ran on the emulator.";

    /// <summary>Where translated kernels are kept unless NOLA_EMULATOR_CACHE says otherwise.</summary>
    public static string Cache => Environment.GetEnvironmentVariable("NOLA_EMULATOR_CACHE") is { Length: > 0 } given
        ? Path.GetFullPath(given)
        : Path.Combine(
            Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify),
            ".cache", "nola", "emulator");

    private static string Sources => Path.Combine(AppContext.BaseDirectory, "Driver");

    /// <summary>The directory with <c>libcuda.so.1</c>, and nothing else, as in some containers. It is made if it is not there.</summary>
    /// <exception cref="InvalidOperationException">The compiler refuses; the message is its own.</exception>
    public static string Make()
    {
        string kernels = Hash(["kernel.h"], Translators());
        string all = Hash(["kernel.h", "machine.h", "machine.c", "driver.c"], [kernels, AppContext.BaseDirectory, Cache]);
        string directory = Path.Combine(Cache, "driver-" + all), library = Path.Combine(directory, "libcuda.so.1");
        if (File.Exists(library)) return directory;
        Directory.CreateDirectory(directory);
        string own = Path.Combine(Cache, $"libcuda-{Environment.ProcessId}.so");
        string translate = $"'{DotNet}' exec '{typeof(DriverBuild).Assembly.Location}' translate";
        Run("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1",
            $"-DEMULATOR_BUILD=\"{kernels}\"", $"-DEMULATOR_TRANSLATE=\"{translate}\"",
            $"-DEMULATOR_SOURCE=\"{Sources}\"", $"-DEMULATOR_CACHE=\"{Cache}\"",
            Path.Combine(Sources, "machine.c"), Path.Combine(Sources, "driver.c"), "-o", own, "-lpthread", "-ldl", "-lm");
        File.Move(own, library, overwrite: true);
        return directory;
    }

    private static string DotNet =>
        Environment.ProcessPath is { } path && Path.GetFileNameWithoutExtension(path) == "dotnet" ? path : "dotnet";

    // Of files of the driver, and what else a result depends on.
    private static string Hash(IEnumerable<string> files, IEnumerable<string> others)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string file in files) hash.AppendData(File.ReadAllBytes(Path.Combine(Sources, file)));
        foreach (string other in others) hash.AppendData(Encoding.UTF8.GetBytes(other + "\n"));
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }

    // The translator's own text: an old translation is of no use to a new one.
    private static IEnumerable<string> Translators()
    {
        System.Reflection.Assembly program = typeof(DriverBuild).Assembly;
        foreach (string name in program.GetManifestResourceNames().Order(StringComparer.Ordinal))
        {
            using StreamReader reader = new(program.GetManifestResourceStream(name)!);
            yield return reader.ReadToEnd();
        }
    }

    private static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })
            ?? throw new InvalidOperationException($"{program} does not start");
        string said = process.StandardError.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0) throw new InvalidOperationException($"{program}: {said}");
    }
}
