using System.Reflection;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;
using ILGPU.IR.Values;

namespace Nola.Tensors;

/// <summary>
/// Instructions that ILGPU does not have. Each is a method whose body is what the CPU accelerator runs, with a generator
/// named <c>Generate…</c> that writes the PTX instruction in its place.
/// </summary>
internal static partial class GpuIntrinsics
{
    /// <summary>2ˣ, relative error 2⁻²².</summary>
    [IntrinsicImplementation]
    public static float Exp2(float x) => MathF.Pow(2, x);

    /// <summary>log₂ x, absolute error 2⁻²² near one.</summary>
    [IntrinsicImplementation]
    public static float Log2(float x) => MathF.Log2(x);

    /// <summary>1 / x, error one unit in the last place.</summary>
    [IntrinsicImplementation]
    public static float Reciprocal(float x) => 1 / x;

    /// <summary>√x, correctly rounded.</summary>
    [IntrinsicImplementation]
    public static float Sqrt(float x) => MathF.Sqrt(x);

    /// <summary>The upper 32 bits of a product.</summary>
    [IntrinsicImplementation]
    public static uint MultiplyHigh(uint a, uint b) => (uint)(((ulong)a * b) >> 32);

    /// <summary>Makes the instructions known to a context.</summary>
    public static Context.Builder AddIntrinsics(this Context.Builder builder)
    {
        IntrinsicImplementationManager manager = builder.GetIntrinsicManager();
        foreach (MethodInfo method in typeof(GpuIntrinsics).GetMethods(BindingFlags.Public | BindingFlags.Static))
            if (method.IsDefined(typeof(IntrinsicImplementationAttribute)))
                manager.RegisterMethod(
                    method, new PTXIntrinsic(typeof(GpuIntrinsics), "Generate" + method.Name, IntrinsicImplementationMode.GenerateCode));
        return builder;
    }

    private static void GenerateExp2(PTXBackend backend, PTXCodeGenerator code, Value value) => Unary(code, value, "ex2.approx.ftz.f32");

    private static void GenerateLog2(PTXBackend backend, PTXCodeGenerator code, Value value) => Unary(code, value, "lg2.approx.ftz.f32");

    private static void GenerateReciprocal(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Unary(code, value, "rcp.approx.ftz.f32");

    private static void GenerateSqrt(PTXBackend backend, PTXCodeGenerator code, Value value) => Unary(code, value, "sqrt.rn.f32");

    private static void GenerateMultiplyHigh(PTXBackend backend, PTXCodeGenerator code, Value value)
    {
        string a = Registers(code, value, 0)[0], b = Registers(code, value, 1)[0];
        Emit(code, $"mul.hi.u32 {Result(code, value)[0]}, {a}, {b};");
    }

    private static void Unary(PTXCodeGenerator code, Value value, string instruction)
    {
        string x = Registers(code, value, 0)[0];
        Emit(code, $"{instruction} {Result(code, value)[0]}, {x};");
    }

    private static void Emit(PTXCodeGenerator code, string instruction) => code.Builder.Append('\t').AppendLine(instruction);

    // The registers of an argument, a structure's one for each of its fields.
    private static List<string> Registers(PTXCodeGenerator code, Value value, int argument) =>
        Flatten(code, code.Load(((MethodCall)value).Nodes[argument]));

    private static List<string> Result(PTXCodeGenerator code, Value value) => Flatten(code, code.Allocate(value));

    private static List<string> Flatten(PTXCodeGenerator code, PTXCodeGenerator.Register register)
    {
        List<string> names = [];
        Add(register);
        return names;

        void Add(PTXCodeGenerator.Register part)
        {
            if (part is PTXCodeGenerator.CompoundRegister compound)
                foreach (PTXCodeGenerator.Register child in compound.Children) Add(child);
            else if (part is PTXCodeGenerator.PrimitiveRegister primitive)
                names.Add("%" + PTXRegisterAllocator.GetStringRepresentation(code.EnsureHardwareRegister(primitive)));
        }
    }
}
