using System.Diagnostics;
using System.Reflection;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>What becomes of a kernel between ILGPU and the driver.</summary>
public sealed class PtxKernelsTests
{
    [Theory]
    [InlineData("\t@%p7 bra.uni L_3;", "\t@%p7 bra L_3;")]
    [InlineData("\t@!%p7 bra.uni L_3;", "\t@!%p7 bra L_3;")]
    [InlineData("\t@%p1 ret.uni;", "\t@%p1 ret;")]
    [InlineData("\tbrx.idx.uni %r1, targets;", "\tbrx.idx %r1, targets;")]
    [InlineData("\tbra.uni L_3;", "\tbra.uni L_3;")]            // whoever gets there takes it
    [InlineData("\t@%p7 bra L_3;", "\t@%p7 bra L_3;")]
    public void Conditional_branches_claim_nothing(string written, string given) =>
        Assert.Equal(given, PtxKernels.WithoutUniformClaims(written));

    [Fact]
    public void Loops_are_unrolled_by_hand_or_not_at_all() =>
        Assert.Equal(
            ".visible .entry K(\n\t.param .u64 p\n)\n.maxntid 32, 1, 1\n.pragma \"nounroll\";\n{\n\t{ }\n}",
            PtxKernels.WithoutUniformClaims(".visible .entry K(\n\t.param .u64 p\n)\n.maxntid 32, 1, 1\n{\n\t{ }\n}"));

    [Fact]
    public void A_kernels_text_does_not_depend_on_what_was_compiled_before()
    {
        // The driver keeps what it compiled by the text.
        using Context context = GpuDevice.NewContext(_ => { });
        using PTXBackend backend = new(
            context, new CudaCapabilityContext(CudaArchitecture.SM_90), CudaArchitecture.SM_90, CudaInstructionSet.ISA_78, null);
        string alone = PtxKernels.Compile(backend, Of("TopK")).PTXAssembly;
        using Context other = GpuDevice.NewContext(_ => { });
        using PTXBackend busy = new(
            other, new CudaCapabilityContext(CudaArchitecture.SM_90), CudaArchitecture.SM_90, CudaInstructionSet.ISA_78, null);
        PtxKernels.Compile(busy, Of("LogSumExp"));
        PtxKernels.Compile(busy, Of("Ban"));
        Assert.Equal(alone, PtxKernels.Compile(busy, Of("TopK")).PTXAssembly);
        Assert.StartsWith("// LogitsKernels.TopK\n", alone);
        Assert.Contains(".target sm_80", alone);

        static MethodInfo Of(string name) => typeof(LogitsKernels).GetMethod(name)!;
    }

    [Theory]
    [InlineData("@%p1 bra L_9628683; L_12: bra L_9628683;", "@%p1 bra L_0; L_1: bra L_0;")]
    [InlineData(".target sm_80 call Exp2_96293, (_x_96295, retval_96293); %r_1x", ".target sm_80 call Exp2_0, (_x_1, retval_0); %r_1x")]
    public void Names_are_numbered_within_a_text(string written, string given) => Assert.Equal(given, PtxKernels.Renumbered(written));

    [Fact]
    public void What_the_drivers_compiler_says_is_kept_while_a_kernel_is_loaded()
    {
        using KernelCache.DriverLog log = new();
        Assert.Equal("", log.Said);
        Trace.WriteLine("PTX Kernel loading failed:");
        Trace.WriteLine("ptxas application ptx input, line 9; fatal : Unexpected instruction types");
        Assert.Equal(": ptxas application ptx input, line 9; fatal : Unexpected instruction types", log.Said);
        log.Dispose();
        Trace.WriteLine("another's");
        Assert.DoesNotContain("another's", log.Said);
    }
}
