using Xunit;

namespace Nola.Cuda.Emulator.Tests;

/// <summary>
/// Where elements of matrices lie in the registers of a warp: tables after the text of the PTX ISA ("Matrix fragments for
/// mma.m16n8k16", "… mma.m16n8k8", "ldmatrix"), with its names groupID = lane / 4 and threadID_in_group = lane mod 4.
/// </summary>
public sealed class LayoutTests
{
    private static readonly Random random = new(1);

    [EmulatedFact]
    public void Products_of_bfloat16_lie_as_the_ISA_says()
    {
        float[,] a = Whole(16, 16), b = Whole(16, 8), c = Whole(16, 8);
        // A: row = groupID for a0, a1, a4, a5, else groupID + 8; column = threadID_in_group · 2 + (i & 1), and 8 more for i ≥ 4.
        // B: row = threadID_in_group · 2 + (i & 1), and 8 more for i ≥ 2; column = groupID.
        uint[] operands = Lanes(10, (lane, r) => r switch
        {
            < 4 => Pair(i => a[Group(lane) + (i is 0 or 1 or 4 or 5 ? 0 : 8), In(lane) * 2 + (i & 1) + (i >= 4 ? 8 : 0)], r),
            < 6 => Pair(i => b[In(lane) * 2 + (i & 1) + (i >= 2 ? 8 : 0), Group(lane)], r - 4),
            _ => BitConverter.SingleToUInt32Bits(Accumulator(c, lane, r - 6)),
        });
        CheckProduct("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", operands, a, b, c);
    }

    [EmulatedFact]
    public void Products_of_TF32_lie_as_the_ISA_says()
    {
        float[,] a = Whole(16, 8), b = Whole(8, 8), c = Whole(16, 8);
        // A: row = groupID for a0 and a2, else groupID + 8; column = threadID_in_group for a0 and a1, else 4 more.
        // B: row = threadID_in_group for b0, 4 more for b1; column = groupID.
        uint[] operands = Lanes(10, (lane, r) => BitConverter.SingleToUInt32Bits(r switch
        {
            < 4 => a[Group(lane) + (r is 0 or 2 ? 0 : 8), In(lane) + (r < 2 ? 0 : 4)],
            < 6 => b[In(lane) + (r == 4 ? 0 : 4), Group(lane)],
            _ => Accumulator(c, lane, r - 6),
        }));
        CheckProduct("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", operands, a, b, c);
    }

    [EmulatedTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Four_matrices_are_loaded_as_the_ISA_says(bool transposed)
    {
        // Row r of matrix m, from the address of lane 8 m + r, is eight elements; here each has a number of its own.
        ushort[] tile = [.. Enumerable.Range(0, 256).Select(i => (ushort)i)];
        string body = $$"""
            mul.wide.u32 %rd3, %r1, 16;
            add.u64 %rd3, %rd3, %rd1;
            ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd3];
            shl.b32 %r7, %r1, 4; mov.u32 %r8, tile; add.u32 %r7, %r7, %r8;
            st.shared.v4.u32 [%r7], {%r3, %r4, %r5, %r6};
            bar.warp.sync 0xffffffff;
            ldmatrix.sync.aligned.m8n8.x4{{(transposed ? ".trans" : "")}}.shared.b16 {%r10, %r11, %r12, %r13}, [%r7];
            mul.wide.u32 %rd4, %r1, 16;
            add.u64 %rd4, %rd4, %rd2;
            st.global.v4.u32 [%rd4], {%r10, %r11, %r12, %r13};
            """;
        using EmulatedContext context = new();
        ulong result = context.Memory(512);
        Assert.Null(context.Run(SmallProgram.Of(body, 2, threads: 32), 1, 32, context.Memory(512, tile), result));
        ushort[] got = context.Read<ushort>(result, 256);
        for (int lane = 0; lane < 32; lane++)
            for (int m = 0; m < 4; m++)
                for (int i = 0; i < 2; i++)
                {
                    (int row, int column) = (lane / 4, lane % 4 * 2 + i);
                    Assert.Equal(64 * m + (transposed ? 8 * column + row : 8 * row + column), got[8 * lane + 2 * m + i]);
                }
    }

    private static void CheckProduct(string instruction, uint[] operands, float[,] a, float[,] b, float[,] c)
    {
        string loads = string.Concat(Enumerable.Range(0, 10).Select(i => $"ld.global.u32 %r{3 + i}, [%rd3+{4 * i}];\n"));
        string body = $$"""
            mul.wide.u32 %rd3, %r1, 40;
            add.u64 %rd3, %rd3, %rd1;
            {{loads}}
            {{instruction}} {%r20, %r21, %r22, %r23}, {%r3, %r4, %r5, %r6}, {%r7, %r8}, {%r9, %r10, %r11, %r12};
            mul.wide.u32 %rd4, %r1, 16;
            add.u64 %rd4, %rd4, %rd2;
            st.global.v4.u32 [%rd4], {%r20, %r21, %r22, %r23};
            """;
        using EmulatedContext context = new();
        ulong result = context.Memory(512);
        Assert.Null(context.Run(SmallProgram.Of(body, 2, threads: 32), 1, 32, context.Memory(4 * operands.Length, operands), result));
        float[] got = context.Read<float>(result, 128);
        for (int lane = 0; lane < 32; lane++)
            for (int i = 0; i < 4; i++)
            {
                (int row, int column) = Place(lane, i);
                float expected = c[row, column];
                for (int k = 0; k < a.GetLength(1); k++) expected += a[row, k] * b[k, column];
                Assert.Equal(expected, got[4 * lane + i]);
            }
    }

    // C and D: row = groupID for c0 and c1, else groupID + 8; column = threadID_in_group · 2 + (i & 1).
    private static (int Row, int Column) Place(int lane, int i) => (Group(lane) + (i < 2 ? 0 : 8), In(lane) * 2 + (i & 1));

    private static float Accumulator(float[,] c, int lane, int i) => c[Place(lane, i).Row, Place(lane, i).Column];

    private static int Group(int lane) => lane / 4;

    private static int In(int lane) => lane % 4;

    // Elements 2 r and 2 r + 1 of a fragment, the first in the lower half of a register.
    private static uint Pair(Func<int, float> element, int r) => Half(element(2 * r)) | (Half(element(2 * r + 1)) << 16);

    private static uint Half(float whole) => BitConverter.SingleToUInt32Bits(whole) >> 16;

    private static uint[] Lanes(int registers, Func<int, int, uint> value) =>
        [.. Enumerable.Range(0, 32 * registers).Select(i => value(i / registers, i % registers))];

    // Exact in bfloat16, and so are their sums in float32.
    private static float[,] Whole(int rows, int columns)
    {
        float[,] m = new float[rows, columns];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) m[i, j] = random.Next(-100, 101);
        return m;
    }
}
