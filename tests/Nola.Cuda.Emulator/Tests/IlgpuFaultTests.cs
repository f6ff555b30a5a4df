using System.Reflection;
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using Nola.Tensors;
using Xunit;

namespace Nola.Cuda.Emulator.Tests;

/// <summary>
/// Small kernels that meet faults of ILGPU which only show when they run: the emulator must find each in what ILGPU writes
/// today, as it would in a kernel of the library. Beside them what to write instead.
/// </summary>
public sealed class IlgpuFaultTests
{
    [EmulatedTheory]
    [InlineData(nameof(DivideNegative), "signed shift that rounds a negative number down", nameof(DivideSize))]
    [InlineData(nameof(IndexBefore), "illegal address", nameof(IndexWithin))]
    [InlineData(nameof(LoadBeforeBarrier), "race: a word is", nameof(LoadThatIsUsed))]
    public void Is_found_where_it_is_and_not_where_it_is_not(string faulty, string said, string sound)
    {
        Assert.Contains(said, Run(faulty));
        Assert.Null(Run(sound));
    }

    [EmulatedTheory]
    [InlineData(0, null)]
    [InlineData(1, "misaligned address")]
    public void Vectors_are_read_from_wherever_a_view_begins(int elementsBefore, string? said)
    {
        string? found = Run(nameof(Vectors), elementsBefore);
        if (said is null) Assert.Null(found);
        else Assert.Contains(said, found);
    }

    [EmulatedFact]
    public void A_branch_that_claims_to_be_uniform_is_taken_by_some_lanes_and_comes_without_the_claim()
    {
        using Context context = GpuDevice.NewContext(_ => { });
        using PTXBackend backend = NewBackend(context);
        EntryPointDescription entry = EntryPointDescription.FromExplicitlyGroupedKernel(Find(nameof(BranchOnOldValue)));
        PTXCompiledKernel raw = (PTXCompiledKernel)backend.Compile(entry, new KernelSpecialization(64, 1));
        Assert.Contains("bra.uni taken by some lanes only", RunText(raw.PTXAssembly));
        Assert.Null(Run(nameof(BranchOnOldValue)));
    }

    private static string? Run(string kernel, int elementsBefore = 0)
    {
        using Context context = GpuDevice.NewContext(_ => { });
        using PTXBackend backend = NewBackend(context);
        return RunText(PtxKernels.Compile(backend, Find(kernel)).PTXAssembly, elementsBefore);
    }

    private static string? RunText(string ptx, int elementsBefore = 0)
    {
        using EmulatedContext card = new();
        // Minus thirty and up: negative numbers that four does not divide, and others.
        ulong memory = card.Memory(1024, Enumerable.Range(-30, 256).ToArray());
        return card.Run(ptx, 1, 64, memory + 4 * (ulong)elementsBefore, 64);
    }

    private static MethodInfo Find(string kernel) =>
        typeof(IlgpuFaultTests).GetMethod(kernel, BindingFlags.Static | BindingFlags.NonPublic)!;

    private static PTXBackend NewBackend(Context context) =>
        new(context, new CudaCapabilityContext(CudaArchitecture.SM_80), CudaArchitecture.SM_80, CudaInstructionSet.ISA_78, null);

    // The first lane gets another old value than all others.
    [Kernel(64)]
    private static void BranchOnOldValue(ArrayView<int> x)
    {
        if (Atomic.CompareExchange(ref x[0], -30, 1) == -30) x[1] = 100;
    }

    [Kernel(64)]
    private static void DivideNegative(ArrayView<int> x) => x[Group.IdxX] = x[Group.IdxX] / 4;

    [Kernel(64)]
    private static void DivideSize(ArrayView<int> x)
    {
        int value = x[Group.IdxX], size = IntrinsicMath.Abs(value) / 4;
        x[Group.IdxX] = value < 0 ? -size : size;
    }

    // The index is extended without its sign.
    [Kernel(64)]
    private static void IndexBefore(ArrayView<int> x)
    {
        ArrayView<int> second = x.SubView(32, 32);
        second[Group.IdxX - 32] = 1;
    }

    [Kernel(64)]
    private static void IndexWithin(ArrayView<int> x) => x[32 + (Group.IdxX - 32)] = 1;

    // What is read for a branch alone is read behind the barrier that stands before the branch.
    [Kernel(64)]
    private static void LoadBeforeBarrier(ArrayView<int> x)
    {
        ArrayView<int> shared = SharedMemory.Allocate<int>(64);
        shared[Group.IdxX] = x[Group.IdxX];
        Group.Barrier();
        int other = shared[63 - Group.IdxX];
        Group.Barrier();
        if (other > 0) shared[Group.IdxX] = 1;
        else shared[Group.IdxX] = 2;
        x[Group.IdxX] = shared[Group.IdxX];
    }

    [Kernel(64)]
    private static void LoadThatIsUsed(ArrayView<int> x)
    {
        ArrayView<int> shared = SharedMemory.Allocate<int>(64);
        shared[Group.IdxX] = x[Group.IdxX];
        Group.Barrier();
        x[Group.IdxX] = shared[63 - Group.IdxX];
        Group.Barrier();
        if (x[Group.IdxX] > 0) shared[Group.IdxX] = 1;
        else shared[Group.IdxX] = 2;
        x[Group.IdxX] = shared[Group.IdxX];
    }

    [Kernel(64)]
    private static void Vectors(ArrayView<float> x)
    {
        ArrayView<Float4> wide = x.Cast<Float4>();
        if (Group.IdxX < 16) wide[Group.IdxX] = Float4.All(1);
    }
}
