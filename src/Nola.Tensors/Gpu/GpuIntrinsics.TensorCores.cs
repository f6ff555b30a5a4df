using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;
using ILGPU.IR.Types;
using ILGPU.IR.Values;

namespace Nola.Tensors;

// The instructions of tensor cores since compute capability 8.0 (PTX ISA, "Warp-level matrix instructions" and
// "Asynchronous copy"). Fragments are spread over the 32 lanes as NVIDIA documents; the bodies here move and multiply the
// same elements, so that the layout of a kernel is proved on the CPU.
internal static partial class GpuIntrinsics
{
    private static readonly Word4[] rows = new Word4[1024];
    private static readonly Word2[] columns = new Word2[1024];

    /// <summary>Two floats rounded to bfloat16, to nearest and ties to even, the first in the lower half.</summary>
    [IntrinsicImplementation]
    public static uint PackHalves(float low, float high) => DTypes.ToBFloat16(low) | ((uint)DTypes.ToBFloat16(high) << 16);

    /// <summary>Eight floats rounded to bfloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Word4 PackHalves(Float4 low, Float4 high)
    {
        Word4 halves = default;
        halves.X = PackHalves(low.X, low.Y);
        halves.Y = PackHalves(low.Z, low.W);
        halves.Z = PackHalves(high.X, high.Y);
        halves.W = PackHalves(high.Z, high.W);
        return halves;
    }

    /// <summary>
    /// c (16, 8) + a (16, 16) · b (16, 8) of a warp, bfloat16 operands, float32 sums. A lane holds rows lane / 4 and + 8,
    /// columns 2 · (lane mod 4) and + 1 of c.
    /// </summary>
    [IntrinsicImplementation]
    public static Float4 MultiplyTiles(Float4 c, Word4 a, uint b0, uint b1) => Multiply(c, a, b0, b1, Dot);

    /// <summary>
    /// c (16, 8) + a (16, 8) · b (8, 8) of a warp, operands of 32 bits whose last 13 are not read, float32 sums. Lanes hold
    /// words where <see cref="MultiplyTiles"/> has pairs.
    /// </summary>
    [IntrinsicImplementation]
    public static Float4 MultiplyTf32Tiles(Float4 c, Word4 a, uint b0, uint b1) =>
        Multiply(c, a, b0, b1, static (x, y) => Tf32(x) * Tf32(y));

    /// <summary>Four floats rounded to TF32, to nearest and ties away from zero.</summary>
    [IntrinsicImplementation]
    public static Word4 RoundToTf32(Word4 x) => new() { X = Rounded(x.X), Y = Rounded(x.Y), Z = Rounded(x.Z), W = Rounded(x.W) };

    /// <summary>
    /// Four 8 × 8 matrices of bfloat16 from shared memory. Lane i gives the address of row i mod 8 of matrix i / 8, and
    /// gets elements (i / 4, 2 · (i mod 4)) and the next of each.
    /// </summary>
    [IntrinsicImplementation]
    public static Word4 LoadMatrices(ref Word4 row)
    {
        int lane = Group.IdxX % Lanes, first = Group.IdxX - lane + lane / 4, word = lane % 4;
        rows[Group.IdxX] = row;
        Warp.Barrier();
        Word4 got = new()
        {
            X = Word(rows[first], word),
            Y = Word(rows[first + 8], word),
            Z = Word(rows[first + 16], word),
            W = Word(rows[first + 24], word),
        };
        Warp.Barrier();
        return got;
    }

    /// <summary>As <see cref="LoadMatrices"/>, each matrix transposed on the way.</summary>
    [IntrinsicImplementation]
    public static Word4 LoadMatricesTransposed(ref Word4 row)
    {
        int lane = Group.IdxX % Lanes, first = Group.IdxX - lane + lane % 4 * 2, place = lane / 4;
        rows[Group.IdxX] = row;
        Warp.Barrier();
        Word4 got = new() { X = Pair(first, place), Y = Pair(first + 8, place), Z = Pair(first + 16, place), W = Pair(first + 24, place) };
        Warp.Barrier();
        return got;
    }

    /// <summary>Starts a copy of 16 bytes from global to shared memory, past the registers.</summary>
    [IntrinsicImplementation]
    public static void CopyAsync(ref Word4 shared, ref Word4 global) => shared = global;

    /// <summary>The same of the first bytes only (0, 4, … 16), with zeros for the rest.</summary>
    [IntrinsicImplementation]
    public static void CopyPartAsync(ref Word4 shared, ref Word4 global, int bytes)
    {
        shared = default;
        if (bytes > 0) shared.X = global.X;
        if (bytes > 4) shared.Y = global.Y;
        if (bytes > 8) shared.Z = global.Z;
        if (bytes > 12) shared.W = global.W;
    }

    /// <summary>Closes a group of copies.</summary>
    [IntrinsicImplementation]
    public static void CommitCopies()
    {
    }

    /// <summary>Waits for all groups of copies but the newest.</summary>
    [IntrinsicImplementation]
    public static void WaitForCopies()
    {
    }

    /// <summary>Waits for all copies.</summary>
    [IntrinsicImplementation]
    public static void WaitForAllCopies()
    {
    }

    private static Float4 Multiply(Float4 c, Word4 a, uint b0, uint b1, Func<uint, uint, float> dot)
    {
        int lane = Group.IdxX % Lanes, first = Group.IdxX - lane, row = lane / 4, column = lane % 4 * 2;
        rows[Group.IdxX] = a;
        columns[Group.IdxX] = new Word2 { X = b0, Y = b1 };
        Warp.Barrier();
        for (int q = 0; q < 4; q++)
        {
            Word4 left = rows[first + 4 * row + q];
            Word2 near = columns[first + 4 * column + q], far = columns[first + 4 * column + 4 + q];
            c.X += dot(left.X, near.X) + dot(left.Z, near.Y);
            c.Y += dot(left.X, far.X) + dot(left.Z, far.Y);
            c.Z += dot(left.Y, near.X) + dot(left.W, near.Y);
            c.W += dot(left.Y, far.X) + dot(left.W, far.Y);
        }
        Warp.Barrier();
        return c;
    }

    private static float Tf32(uint bits) => BitConverter.UInt32BitsToSingle(bits & 0xFFFFE000);

    private static uint Rounded(uint bits) => (bits + 0x1000) & 0xFFFFE000;

    private static uint Word(Word4 row, int word) => word switch { 0 => row.X, 1 => row.Y, 2 => row.Z, _ => row.W };

    private static uint Half(Word4 row, int place) => place % 2 == 0 ? Word(row, place / 2) & 0xFFFF : Word(row, place / 2) >> 16;

    private static uint Pair(int row, int place) => Half(rows[row], place) | (Half(rows[row + 1], place) << 16);

    private static float Dot(uint a, uint b) =>
        BitConverter.UInt32BitsToSingle(a << 16) * BitConverter.UInt32BitsToSingle(b << 16)
        + BitConverter.UInt32BitsToSingle(a & 0xFFFF0000) * BitConverter.UInt32BitsToSingle(b & 0xFFFF0000);

    private static void GeneratePackHalves(PTXBackend backend, PTXCodeGenerator code, Value value)
    {
        string low = Registers(code, value, 0)[0], high = Registers(code, value, 1)[0];
        Emit(code, $"cvt.rn.bf16x2.f32 {Result(code, value)[0]}, {high}, {low};");
    }

    private static void GenerateMultiplyTiles(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Multiply(code, value, "m16n8k16.row.col.f32.bf16.bf16.f32");

    private static void GenerateMultiplyTf32Tiles(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Multiply(code, value, "m16n8k8.row.col.f32.tf32.tf32.f32");

    private static void Multiply(PTXCodeGenerator code, Value value, string shape)
    {
        List<string> c = Registers(code, value, 0), a = Registers(code, value, 1);
        string b0 = Registers(code, value, 2)[0], b1 = Registers(code, value, 3)[0];
        Emit(code, $"mma.sync.aligned.{shape} {Braced(Result(code, value))}, {Braced(a)}, {{{b0}, {b1}}}, {Braced(c)};");
    }

    private static void GenerateRoundToTf32(PTXBackend backend, PTXCodeGenerator code, Value value)
    {
        foreach ((string from, string to) in Registers(code, value, 0).Zip(Result(code, value)))
            Emit(code, $"cvt.rna.tf32.f32 {to}, {from};");
    }

    private static void GenerateLoadMatrices(PTXBackend backend, PTXCodeGenerator code, Value value) => LoadFragments(code, value, "");

    private static void GenerateLoadMatricesTransposed(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        LoadFragments(code, value, ".trans");

    private static void LoadFragments(PTXCodeGenerator code, Value value, string transposed, string place = "shared")
    {
        string from = Registers(code, value, 0)[0];
        List<string> to = Result(code, value);
        Emit(code, "{");
        SharedAddress(code, value, from);
        Emit(code, $"ldmatrix.sync.aligned.m8n8.x4{transposed}.shared.b16 {Braced(to)}, [{place}];");
        Emit(code, "}");
    }

    private static void GenerateCopyAsync(PTXBackend backend, PTXCodeGenerator code, Value value) => Copy(code, value, "16");

    private static void GenerateCopyPartAsync(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Copy(code, value, "16, " + Registers(code, value, 2)[0]);

    private static void Copy(PTXCodeGenerator code, Value value, string bytes)
    {
        string to = Registers(code, value, 0)[0], from = Registers(code, value, 1)[0];
        Emit(code, "{");
        SharedAddress(code, value, to);
        if (SpaceOf(value, 1) != MemoryAddressSpace.Global)
        {
            Emit(code, ".reg .u64 global;");
            Emit(code, $"cvta.to.global.u64 global, {from};");
            from = "global";
        }
        Emit(code, $"cp.async.cg.shared.global [shared], [{from}], {bytes};");
        Emit(code, "}");
    }

    private static void GenerateCommitCopies(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Emit(code, "cp.async.commit_group;");

    private static void GenerateWaitForCopies(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Emit(code, "cp.async.wait_group 1;");

    private static void GenerateWaitForAllCopies(PTXBackend backend, PTXCodeGenerator code, Value value) =>
        Emit(code, "cp.async.wait_group 0;");

    // Declares register "shared" in the current scope: the 32-bit address of argument 0.
    private static void SharedAddress(PTXCodeGenerator code, Value value, string address)
    {
        Emit(code, ".reg .u32 shared;");
        if (SpaceOf(value, 0) != MemoryAddressSpace.Shared)
        {
            Emit(code, ".reg .u64 wide;");
            Emit(code, $"cvta.to.shared.u64 wide, {address};");
            address = "wide";
        }
        Emit(code, $"cvt.u32.u64 shared, {address};");
    }

    private static MemoryAddressSpace SpaceOf(Value value, int argument)
    {
        Value node = ((MethodCall)value).Nodes[argument];
        return ((AddressSpaceType)node.Type).AddressSpace;
    }

    private static string Braced(List<string> registers) => "{" + string.Join(", ", registers) + "}";
}
