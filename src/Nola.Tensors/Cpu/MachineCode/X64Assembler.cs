using System.Buffers.Binary;

namespace Nola.Tensors;

/// <summary>General registers by their numbers in x86-64's encoding.</summary>
internal enum X64Register
{
    Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, R8, R9, R10, R11, R12, R13, R14, R15,
}

/// <summary>
/// Writes the machine code of a product's inner loop: the dozen x86-64 instructions that it is made of, with 512-bit registers 0 to 31,
/// and no more. It exists for instructions that .NET does not offer. Encodings are those of Intel's manual, volume 2, and are held by a
/// test against a disassembler's.
/// </summary>
internal sealed class X64Assembler
{
    // Opcode maps and prefixes of EVEX: 0F and 0F38; none, 66 and F3.
    private const int Map0F = 1, Map0F38 = 2, NoPrefix = 0, Prefix66 = 1, PrefixF3 = 2;
    private const int VectorBytes = 64, ElementBytes = 4;

    private readonly List<byte> code = [];

    /// <summary>Bytes that were written.</summary>
    public int Length => code.Count;

    /// <summary>The code.</summary>
    public byte[] ToArray() => [.. code];

    /// <summary>vpxord: a register of zeros.</summary>
    public void Zero(int register) => Registers(Map0F, Prefix66, 0xEF, register, register, register);

    /// <summary>vmovups: sixteen floats from memory.</summary>
    public void Load(int register, X64Register address, int offset) =>
        Memory(Map0F, NoPrefix, 0x10, register, address, offset, VectorBytes);

    /// <summary>vmovups: sixteen floats to memory.</summary>
    public void Store(int register, X64Register address, int offset) =>
        Memory(Map0F, NoPrefix, 0x11, register, address, offset, VectorBytes);

    /// <summary>vbroadcastss: four bytes of memory in all places.</summary>
    public void Broadcast(int register, X64Register address, int offset) =>
        Memory(Map0F38, Prefix66, 0x18, register, address, offset, ElementBytes);

    /// <summary>
    /// vdpbf16ps: to each of sixteen floats of <paramref name="sums"/> the products of two pairs of bfloat16, that of the upper first,
    /// each multiplied and added with one rounding; denormal numbers count as zero.
    /// </summary>
    public void MultiplyAddPairs(int sums, int a, int b) => Registers(Map0F38, PrefixF3, 0x52, sums, a, b);

    /// <summary>add: a constant to a register.</summary>
    public void Add(X64Register register, int value)
    {
        code.AddRange([Wide(register), 0x81, (byte)(0xC0 | ((int)register & 7))]);
        Int32(value);
    }

    /// <summary>sub: a constant from a register; sets the flag that <see cref="JumpIfNotZero"/> reads.</summary>
    public void Subtract(X64Register register, int value)
    {
        code.AddRange([Wide(register), 0x81, (byte)(0xE8 | ((int)register & 7))]);
        Int32(value);
    }

    /// <summary>jnz: back to a place in the code.</summary>
    public void JumpIfNotZero(int place)
    {
        code.AddRange([0x0F, 0x85]);
        Int32(place - (code.Count + sizeof(int)));
    }

    /// <summary>vzeroupper and ret.</summary>
    public void Return() => code.AddRange([0xC5, 0xF8, 0x77, 0xC3]);

    private static byte Wide(X64Register register) => (byte)(register >= X64Register.R8 ? 0x49 : 0x48);

    private void Registers(int map, int prefix, int opcode, int to, int first, int second)
    {
        Evex(map, prefix, opcode, to, first, ~second >> 4 & 1, ~second >> 3 & 1);
        code.Add((byte)(0xC0 | (to & 7) << 3 | (second & 7)));
    }

    private void Memory(int map, int prefix, int opcode, int register, X64Register address, int offset, int unit)
    {
        int low = (int)address & 7;
        Evex(map, prefix, opcode, register, 0, 1, ~(int)address >> 3 & 1);
        // An offset of whole units that fits a byte is written as their number.
        bool isShort = offset % unit == 0 && offset / unit is >= sbyte.MinValue and <= sbyte.MaxValue;
        code.Add((byte)((isShort ? 0x40 : 0x80) | (register & 7) << 3 | low));
        if (low == (int)X64Register.Rsp) code.Add(0x24);
        if (isShort) code.Add((byte)(sbyte)(offset / unit));
        else Int32(offset);
    }

    // The four bytes of the prefix, for 512 bits and without a mask, and the opcode. Numbers of registers are inverted in it.
    private void Evex(int map, int prefix, int opcode, int register, int first, int x, int b)
    {
        code.Add(0x62);
        code.Add((byte)((~register >> 3 & 1) << 7 | x << 6 | b << 5 | (~register >> 4 & 1) << 4 | map));
        code.Add((byte)((~first & 15) << 3 | 4 | prefix));
        code.Add((byte)(2 << 5 | (~first >> 4 & 1) << 3));
        code.Add((byte)opcode);
    }

    private void Int32(int value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        code.AddRange(bytes);
    }
}
