using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Nola.Tensors;

/// <summary>
/// The inner loop of products of bfloat16 with float32 sums, in machine code with the chip's dot product of pairs (AVX512_BF16), which
/// .NET does not offer: sums (R × 32) = A (R × 2p) · B (2p × 32), one kernel for each number R of rows from 1 to 14.
/// An element pair of A or B is two neighboring steps, the first in the lower half of four bytes. Operands come packed: step pair i of A
/// has its R pairs at <c>a + i · Stride(R)</c>, and of B its 32 at <c>b + 32 · i</c>. A sum is
/// fma(a₀, b₀, fma(a₁, b₁, sum)), pair after pair, as the instruction defines it.
/// </summary>
internal static unsafe class PairKernels
{
    /// <summary>Rows of the largest kernel: 28 sums, two vectors of B and two broadcasts fill the 32 registers.</summary>
    public const int MostRows = 14;

    // Step pairs that a turn of the loop does; packed operands have a whole number of them.
    private const int Unroll = 2, Vector = 64;

    /// <summary>Step pairs are a multiple of this; what is missing is zeros.</summary>
    public const int PairsMultiple = Unroll;

    private static readonly Lazy<nint[]?> made = new(Make);

    /// <summary>Whether the chip has the instruction, and panels are as wide as its vectors.</summary>
    public static bool IsSupported => CodePage.IsSupported && Avx512BW.IsSupported && Vector512.IsHardwareAccelerated
        && X86Base.CpuId(7, 0).Eax >= 1 && (X86Base.CpuId(7, 1).Eax & 1 << 5) != 0;

    /// <summary>Whether the kernels can be called: the chip has the instruction, and the system allows code to be made.</summary>
    public static bool AreThere => made.Value is not null;

    /// <summary>Elements, of four bytes, from one step pair of A to the next, by the number of rows.</summary>
    public static int Stride(int rows) => rows switch { 1 => 1, 2 => 2, <= 4 => 4, <= 8 => 8, _ => 16 };

    /// <summary>sums (rows × 32) = A · B over step pairs: a multiple of <see cref="PairsMultiple"/>, at least one.</summary>
    public static void Run(int rows, nint pairs, uint* a, uint* b, float* sums) =>
        ((delegate* unmanaged[SuppressGCTransition]<nint, uint*, uint*, float*, void>)made.Value![rows - 1])(pairs, a, b, sums);

    /// <summary>The code of a kernel, for registers as the System V convention passes the arguments of <see cref="Run"/>.</summary>
    internal static byte[] CodeOf(int rows)
    {
        const X64Register Pairs = X64Register.Rdi, A = X64Register.Rsi, B = X64Register.Rdx, Sums = X64Register.Rcx;
        const int Left = 28, Right = 29, Factor = 30;
        int stride = sizeof(uint) * Stride(rows);
        X64Assembler code = new();
        for (int i = 0; i < 2 * rows; i++) code.Zero(i);
        int loop = code.Length;
        for (int pair = 0; pair < Unroll; pair++)
        {
            code.Load(Left, B, pair * 2 * Vector);
            code.Load(Right, B, pair * 2 * Vector + Vector);
            for (int r = 0; r < rows; r++)
            {
                int factor = Factor + r % 2;
                code.Broadcast(factor, A, pair * stride + sizeof(uint) * r);
                code.MultiplyAddPairs(2 * r, Left, factor);
                code.MultiplyAddPairs(2 * r + 1, Right, factor);
            }
        }
        code.Add(A, Unroll * stride);
        code.Add(B, Unroll * 2 * Vector);
        code.Subtract(Pairs, Unroll);
        code.JumpIfNotZero(loop);
        for (int i = 0; i < 2 * rows; i++) code.Store(i, Sums, i * Vector);
        code.Return();
        return code.ToArray();
    }

    // All kernels in one page, each at the start of a cache line.
    private static nint[]? Make()
    {
        if (!IsSupported) return null;
        List<byte> all = [];
        int[] starts = new int[MostRows];
        for (int rows = 1; rows <= MostRows; rows++)
        {
            all.AddRange(new byte[(Vector - all.Count % Vector) % Vector]);
            starts[rows - 1] = all.Count;
            all.AddRange(CodeOf(rows));
        }
        byte* page = CodePage.Create(all.ToArray());
        return page == null ? null : [.. starts.Select(start => (nint)(page + start))];
    }
}
