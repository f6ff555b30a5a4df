using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>The assembler against GNU's: what <c>objdump -d</c> shows of the same instructions.</summary>
public sealed class MachineCodeTests
{
    [Fact]
    public void Instructions_are_encoded_as_by_an_assembler()
    {
        Holds("62 f1 7d 48 ef c0", code => code.Zero(0));
        Holds("62 01 25 40 ef db", code => code.Zero(27));
        Holds("62 61 7c 48 10 6a 03", code => code.Load(29, X64Register.Rdx, 192));
        Holds("62 61 7c 48 11 59 1b", code => code.Store(27, X64Register.Rcx, 1728));
        // Offsets that are no multiple of what is read, or too large for a byte.
        Holds("62 d1 7c 48 10 9c 24 00 20 00 00", code => code.Load(3, X64Register.R12, 8192));
        Holds("62 f1 7c 48 10 5c 24 7f", code => code.Load(3, X64Register.Rsp, 8128));
        Holds("62 62 7d 48 18 76 01", code => code.Broadcast(30, X64Register.Rsi, 4));
        Holds("62 62 7d 48 18 7e 7f", code => code.Broadcast(31, X64Register.Rsi, 508));
        Holds("62 62 7d 48 18 be 00 02 00 00", code => code.Broadcast(31, X64Register.Rsi, 512));
        Holds("62 52 7d 48 18 89 06 00 00 00", code => code.Broadcast(9, X64Register.R9, 6));
        Holds("62 92 1e 40 52 c6", code => code.MultiplyAddPairs(0, 28, 30));
        Holds("62 02 16 40 52 df", code => code.MultiplyAddPairs(27, 29, 31));
        Holds("62 32 46 48 52 ea", code => code.MultiplyAddPairs(13, 7, 18));
        Holds("48 81 c6 80 00 00 00", code => code.Add(X64Register.Rsi, 128));
        Holds("49 81 c1 00 01 00 00", code => code.Add(X64Register.R9, 256));
        Holds("48 81 ef 02 00 00 00", code => code.Subtract(X64Register.Rdi, 2));
        Holds("c5 f8 77 c3", code => code.Return());
        // Six bytes of its own before the place that it jumps to.
        Holds("0f 85 fa ff ff ff", code => code.JumpIfNotZero(0));

        static void Holds(string expected, Action<X64Assembler> write)
        {
            X64Assembler code = new();
            write(code);
            Assert.Equal(expected.Replace(" ", ""), Convert.ToHexStringLower(code.ToArray()));
        }
    }

    [Fact]
    public void Every_kernel_is_a_loop_that_begins_with_zeros_and_returns()
    {
        for (int rows = 1; rows <= PairKernels.MostRows; rows++)
        {
            byte[] code = PairKernels.CodeOf(rows);
            Assert.Equal(new byte[] { 0x62, 0xF1, 0x7D, 0x48, 0xEF, 0xC0 }, code[..6]);
            Assert.Equal(new byte[] { 0xC5, 0xF8, 0x77, 0xC3 }, code[^4..]);
        }
    }
}
