using System.Globalization;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;
using Nola.GpuBench;
using Nola.Tensors;

namespace Nola.Cuda.Emulator;

/// <summary>The command line: what the driver calls, and what a person or a script does.</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        try
        {
            switch (arguments)
            {
                case ["translate", string ptx, string c]:
                    File.WriteAllText(c, Translator.Translate(File.ReadAllText(ptx)));
                    return 0;
                case ["driver"]:
                    Console.Out.WriteLine(DriverBuild.Make());
                    return 0;
                case ["report", .. string[] files] when files.Length > 0:
                    Console.Out.Write(Report.Of(files));
                    return 0;
                case ["ptx", string kernel]:
                    Console.Out.Write(PtxOf(kernel));
                    return 0;
                case ["costs", string size, string tokens, string blocks]:
                    PrintCosts(Workload.Of(size, Number(tokens)), Number(blocks));
                    return 0;
                default:
                    Console.Error.WriteLine(
                        "usage: translate FILE.ptx FILE.c | driver (prints its directory) | report FILE… (of NOLA_EMULATOR_COUNTS) | "
                        + "ptx KERNEL (Family.Name) | costs SIZE TOKENS BLOCKS (of a training step)");
                    return 2;
            }
        }
        catch (Exception error) when (error is PtxException or InvalidOperationException or IOException or NolaException)
        {
            Console.Error.WriteLine(error.Message);
            return 1;
        }
    }

    private static void PrintCosts(Workload work, int blocks)
    {
        Nola.Models.TokenStream stream = E2EExamples.Of(work.Tokens).Stream;
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{work.Size}: {stream.Length} tokens of {stream.Sequences} examples, {stream.Targets.Length} with a loss; "
            + $"{blocks} blocks of each launch.\n"));
        Console.Out.Write(CostTable.Of(StepCosts.Of(work, perLayer: false, blocks)));
    }

    // In a version that the ptxas of CUDA 11.8 and later reads.
    private static string PtxOf(string name)
    {
        System.Reflection.MethodInfo kernel = KernelCache.All().FirstOrDefault(k => KernelCache.NameOf(k) == name)
            ?? throw new InvalidOperationException($"There is no kernel '{name}'");
        using ILGPU.Context context = GpuDevice.NewContext(_ => { });
        CudaArchitecture card = CudaArchitecture.SM_90;
        using PTXBackend backend = new(context, new CudaCapabilityContext(card), card, CudaInstructionSet.ISA_78, null);
        return PtxKernels.Compile(backend, kernel).PTXAssembly;
    }

    private static int Number(string text) =>
        int.TryParse(text, CultureInfo.InvariantCulture, out int number) && number > 0
            ? number
            : throw new InvalidOperationException($"'{text}' is not a positive whole number");
}
