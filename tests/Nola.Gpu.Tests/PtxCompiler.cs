using System.Diagnostics;
using System.Reflection;
using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;
using Nola.Tensors;

namespace Nola.Tests;

/// <summary>Kernels to PTX without a device, and PTX through NVIDIA's assembler where there is one.</summary>
internal static class PtxCompiler
{
    // What ptxas 11.8 and 12.4 read; a driver would be given a newer version.
    private static readonly CudaInstructionSet instructionSet = CudaInstructionSet.ISA_78;

    /// <summary>The PTX of a kernel. A failed compilation spoils its context, so each kernel has its own.</summary>
    public static string Compile(MethodInfo kernel, CudaArchitecture architecture)
    {
        using Context context = GpuDevice.NewContext(_ => { });
        using PTXBackend backend = new(context, new CudaCapabilityContext(architecture), architecture, instructionSet, null);
        return PtxKernels.Compile(backend, kernel).PTXAssembly;
    }

    /// <summary>ptxas, by NOLA_PTXAS or on the path; null when there is none.</summary>
    public static string? FindAssembler()
    {
        if (Environment.GetEnvironmentVariable("NOLA_PTXAS") is { Length: > 0 } given) return given;
        return (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator)
            .Select(p => Path.Combine(p, "ptxas"))
            .FirstOrDefault(File.Exists);
    }

    /// <summary>Assembles, and reads what ptxas says of registers, spills and shared memory.</summary>
    public static Usage Assemble(string assembler, string ptx, string architecture)
    {
        string file = Path.Combine(Path.GetTempPath(), $"nola-{Guid.NewGuid():N}");
        try
        {
            File.WriteAllText(file + ".ptx", ptx);
            ProcessStartInfo start = new(assembler, ["-v", "-arch=" + architecture, "-o", file + ".cubin", file + ".ptx"])
            {
                RedirectStandardError = true,
                RedirectStandardOutput = true,
            };
            using Process process = Process.Start(start)!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string said = process.StandardOutput.ReadToEnd() + errors.Result;
            process.WaitForExit();
            if (process.ExitCode != 0) throw new InvalidOperationException(said);
            return new(
                Number(said, @"Used (\d+) registers"), Number(said, @"(\d+) bytes stack frame"),
                Number(said, @"(\d+) bytes spill stores"), Number(said, @"(\d+) bytes smem"));
        }
        finally
        {
            File.Delete(file + ".ptx");
            File.Delete(file + ".cubin");
        }
    }

    private static int Number(string text, string pattern) =>
        Regex.Match(text, pattern) is { Success: true } match ? int.Parse(match.Groups[1].Value) : 0;

    /// <summary>What a kernel takes of a multiprocessor; bytes but for registers.</summary>
    public sealed record Usage(int Registers, int Stack, int Spills, int Shared);
}
