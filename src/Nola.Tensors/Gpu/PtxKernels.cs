using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;

namespace Nola.Tensors;

/// <summary>Kernels to PTX by ILGPU, without what ILGPU claims of them and cannot know.</summary>
internal static partial class PtxKernels
{
    /// <summary>Compiles a kernel; what comes out is what a driver is given. Its first line names it, for those who read it.</summary>
    public static PTXCompiledKernel Compile(PTXBackend backend, MethodInfo kernel)
    {
        KernelAttribute shape = KernelCache.ShapeOf(kernel);
        EntryPointDescription entry = EntryPointDescription.FromExplicitlyGroupedKernel(kernel);
        PTXCompiledKernel compiled = (PTXCompiledKernel)backend.Compile(entry, new KernelSpecialization(shape.Threads, shape.Blocks));
        Text(compiled) = $"// {KernelCache.NameOf(kernel)}\n{Renumbered(WithoutUniformClaims(compiled.PTXAssembly))}";
        return compiled;
    }

    /// <summary>
    /// Labels, functions and their arguments carry numbers that ILGPU counts through everything it has compiled so far, so the
    /// text of a kernel depends on which kernels came before it, and a driver that keeps what it compiled by the text would
    /// find nothing in the next process. Here they are counted within the text.
    /// </summary>
    internal static string Renumbered(string ptx)
    {
        Dictionary<string, int> numbers = [];
        return NumberedName().Replace(ptx, name =>
        {
            if (!numbers.TryGetValue(name.Groups[2].Value, out int number)) numbers.Add(name.Groups[2].Value, number = numbers.Count);
            return $"{name.Groups[1].Value}{number}";
        });
    }

    /// <summary>
    /// At O2 ILGPU writes <c>bra.uni</c> wherever the data of a condition are the same for all threads, and overlooks that which
    /// of them a thread gets may depend on a branch before: a value that is 1 on one way and 0 on the other counts as the same.
    /// PTX leaves a <c>bra.uni</c> undefined that only some lanes of a warp take. A conditional branch is therefore left to the
    /// driver, which looks for itself; an unconditional one is taken by all that reach it, and stays. Without the claim NVIDIA's
    /// assembler unrolls loops, up to a spill in a kernel that was unrolled by hand; told not to, it makes what it made before.
    /// </summary>
    internal static string WithoutUniformClaims(string ptx) =>
        Entry().Replace(UniformClaim().Replace(ptx, "$1"), "$1.pragma \"nounroll\";\n{");

    [GeneratedRegex(@"(@!?%\w+\s+(?:bra|call|ret)|\bbrx\.idx)\.uni\b")]
    private static partial Regex UniformClaim();

    [GeneratedRegex(@"(\.visible\s+\.entry[^{]*)\{")]
    private static partial Regex Entry();

    // Not of the target's name.
    [GeneratedRegex(@"\b(?!sm_)(\w*_)(\d+)\b")]
    private static partial Regex NumberedName();

    // ILGPU keeps the text to itself; its version is pinned.
    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<PTXAssembly>k__BackingField")]
    private static extern ref string Text(PTXCompiledKernel kernel);
}
