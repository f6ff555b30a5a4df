using System.Runtime.CompilerServices;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;
using ILGPU.IR.Values;

namespace Nola.Tensors;

// ldmatrix with a constant in the address. Kernels that read many matrices from one tile then compute one address for each
// place in a row, where an index for each matrix would cost two instructions.
internal static partial class GpuIntrinsics
{
    /// <summary><see cref="LoadMatrices"/> a constant number of chunks further on.</summary>
    [IntrinsicImplementation]
    public static Word4 LoadMatricesBeyond(ref Word4 row, int chunks) => LoadMatrices(ref Unsafe.Add(ref row, chunks));

    /// <summary><see cref="LoadMatricesTransposed"/> a constant number of chunks further on.</summary>
    [IntrinsicImplementation]
    public static Word4 LoadMatricesTransposedBeyond(ref Word4 row, int chunks) => LoadMatricesTransposed(ref Unsafe.Add(ref row, chunks));

    private static void GenerateLoadMatricesBeyond(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        LoadFragmentsBeyond(code, value, "");

    private static void GenerateLoadMatricesTransposedBeyond(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        LoadFragmentsBeyond(code, value, ".trans");

    private static void LoadFragmentsBeyond(PTXCodeGenerator code, Value value, string transposed)
    {
        Value chunks = ((MethodCall)value).Nodes[1];
        int bytes = 16 * (chunks as PrimitiveValue
            ?? throw new NotSupportedException($"ldmatrix: the distance is {chunks}; expected a constant.")).Int32Value;
        LoadFragments(code, value, transposed, $"shared+{bytes}");
    }
}
