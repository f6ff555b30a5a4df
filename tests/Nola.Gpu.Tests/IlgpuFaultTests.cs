using System.Reflection;
using ILGPU;
using ILGPU.Runtime.Cuda;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Small kernels with a fault of ILGPU each, which <see cref="IlgpuFaults"/> must find in what ILGPU writes today, so that
/// the check of the library's kernels looks for the right thing; and beside them what to write instead.
/// </summary>
public sealed class IlgpuFaultTests
{
    [Theory]
    [InlineData(nameof(Switch), "a switch", nameof(Conditions))]
    [InlineData(nameof(CopySign), "CopySign", nameof(Conditions))]
    [InlineData(nameof(FusedMultiplyAdd), "nobody has", nameof(ProductAndSum))]
    [InlineData(nameof(Tangent), "tanh.approx", nameof(OwnTangent))]
    [InlineData(nameof(UnsignedToFloat), "uint to float", nameof(SignedToFloat))]
    [InlineData(nameof(DivideNegated), "became a shift", nameof(NegateQuotient))]
    public void Is_found_where_it_is_and_not_where_it_is_not(string faulty, string said, string sound)
    {
        Assert.Contains(said, Assert.Single(Of(faulty)));
        Assert.Empty(Of(sound));

        static IEnumerable<string> Of(string kernel)
        {
            MethodInfo method = typeof(IlgpuFaultTests).GetMethod(kernel, BindingFlags.Static | BindingFlags.NonPublic)!;
            return IlgpuFaults.Of(PtxCompiler.Compile(method, CudaArchitecture.SM_80));
        }
    }

    [Kernel(32)]
    private static void Switch(ArrayView<int> x)
    {
        int i = Group.IdxX;
        switch (x[i])
        {
            case 0: x[i] = 5; break;
            case 1: x[i] = 7; break;
            case 2: x[i + 1] = 9; break;
            case 3: x[i + 2] = 4; break;
        }
    }

    [Kernel(32)]
    private static void Conditions(ArrayView<int> x)
    {
        int i = Group.IdxX, value = x[i];
        x[i] = value == 0 ? 5 : value == 1 ? 7 : value == 2 ? 9 : 4;
    }

    [Kernel(32)]
    private static void CopySign(ArrayView<float> x) => x[Group.IdxX] = MathF.CopySign(x[Group.IdxX], x[0]);

    [Kernel(32)]
    private static void FusedMultiplyAdd(ArrayView<float> x) => x[Group.IdxX] = MathF.FusedMultiplyAdd(x[Group.IdxX], x[0], x[1]);

    [Kernel(32)]
    private static void ProductAndSum(ArrayView<float> x) => x[Group.IdxX] = x[Group.IdxX] * x[0] + x[1];

    [Kernel(32)]
    private static void Tangent(ArrayView<float> x) => x[Group.IdxX] = MathF.Tanh(x[Group.IdxX]);

    [Kernel(32)]
    private static void OwnTangent(ArrayView<float> x) => x[Group.IdxX] = GpuMath.Tanh(x[Group.IdxX]);

    [Kernel(32)]
    private static void UnsignedToFloat(ArrayView<uint> x, ArrayView<float> y) => y[Group.IdxX] = x[Group.IdxX];

    [Kernel(32)]
    private static void SignedToFloat(ArrayView<uint> x, ArrayView<float> y) => y[Group.IdxX] = (int)x[Group.IdxX];

    [Kernel(32)]
    private static void DivideNegated(ArrayView<int> x) => x[Group.IdxX] = -Group.IdxX / 4;

    [Kernel(32)]
    private static void NegateQuotient(ArrayView<int> x) => x[Group.IdxX] = -(Group.IdxX / 4);
}
