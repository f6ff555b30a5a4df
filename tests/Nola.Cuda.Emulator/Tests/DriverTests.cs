using Xunit;

namespace Nola.Cuda.Emulator.Tests;

/// <summary>What the driver refuses, and what it does with the order of things.</summary>
public sealed class DriverTests
{
    private static readonly string store = SmallProgram.Of(
        "mul.wide.u32 %rd2, %r1, 4; add.u64 %rd2, %rd2, %rd1; st.global.u32 [%rd2], %r1;");

    [EmulatedTheory]
    [InlineData(1, 1, 1, 64, 0)]
    [InlineData(1, 1, 1, 65, 1)]            // more than .maxntid
    [InlineData(1, 1, 1, 0, 1)]
    [InlineData(0, 1, 1, 64, 1)]
    [InlineData(1, 65_536, 1, 64, 1)]
    [InlineData(1, 1, 65_536, 64, 1)]
    public void A_launch_has_limits(uint x, uint y, uint z, uint threads, int code)
    {
        using EmulatedContext context = new();
        nint function = context.Find(context.Load(store).Module, SmallProgram.Entry).Function;
        Assert.Equal(code, context.Launch(function, (x, y, z), threads, context.Memory(256)));
    }

    [EmulatedFact]
    public void A_launch_brings_all_parameters()
    {
        using EmulatedContext context = new();
        nint function = context.Find(context.Load(store).Module, SmallProgram.Entry).Function;
        Assert.Equal(1, context.Launch(function, (1, 1, 1), 64));
    }

    [EmulatedTheory]
    [InlineData("cvt.rna.tf32.f32 %r3, %f1;", 75, "line 15: needs .target sm_80")]
    [InlineData("frob.u32 %r3, %r1;", 80, "line 15: instruction frob.u32 is not known")]
    [InlineData("add.u32 %r3, %q1, 1;", 80, "line 15: operand '%q1' is not understood")]
    public void What_cannot_be_compiled_is_said_in_the_log(string body, int target, string said)
    {
        using EmulatedContext context = new();
        (int code, string log, _) = context.Load(SmallProgram.Of(body, target: target));
        Assert.Equal(218, code);
        Assert.Contains(said, log);
    }

    [EmulatedFact]
    public void More_shared_memory_than_a_block_has_is_refused()
    {
        using EmulatedContext context = new();
        Assert.Equal(218, context.Find(context.Load(SmallProgram.Of("", tile: 49_168)).Module, SmallProgram.Entry).Code);
        Assert.Equal(0, context.Find(context.Load(SmallProgram.Of("", tile: 49_152)).Module, SmallProgram.Entry).Code);
    }

    [EmulatedFact]
    public void A_thread_without_a_context_is_told_so()
    {
        using EmulatedContext context = new();
        int code = 0;
        Thread other = new(() => code = context.Wait());
        other.Start();
        other.Join();
        Assert.Equal(201, code);
    }

    [EmulatedFact]
    public void Waiting_spoils_a_recording()
    {
        using EmulatedContext context = new();
        Assert.Equal(0, context.BeginCapture());
        Assert.Equal(900, context.Wait());
        Assert.Equal(901, context.EndCapture());
        Assert.Equal(0, context.BeginCapture());
        Assert.Equal(0, context.EndCapture());
    }

    [EmulatedFact]
    public void Lanes_and_blocks_run_in_the_order_that_was_asked_for()
    {
        // Each thread takes a number, and writes it to its place.
        string body = "mov.u32 %r3, %ctaid.x; shl.b32 %r3, %r3, 5; add.u32 %r3, %r3, %r1; mul.wide.u32 %rd3, %r3, 4; "
            + "add.u64 %rd3, %rd3, %rd2; atom.global.add.u32 %r4, [%rd1], 1; st.global.u32 [%rd3], %r4;";
        int[] forward = [.. Enumerable.Range(0, 96)];
        Assert.Equal(forward, Run());
        using (EmulatedDriver.With("LANES", "reverse")) Assert.Equal([.. forward.Select(i => i / 32 * 32 + 31 - i % 32)], Run());
        using (EmulatedDriver.With("BLOCKS", "1"))
        {
            int[] shuffled = Run();
            Assert.NotEqual(forward, shuffled);
            Assert.Equal(forward, shuffled.Order());
        }

        int[] Run()
        {
            using EmulatedContext context = new();
            ulong places = context.Memory(4 * 96);
            Assert.Null(context.Run(SmallProgram.Of(body, 2), 3, 32, context.Memory(4, new int[1]), places));
            return context.Read<int>(places, 96);
        }
    }

    [EmulatedFact]
    public void Products_and_sums_become_one_step_when_asked_for()
    {
        // (1 + 2⁻¹²)² − 1 − 2⁻¹¹ is 2⁻²⁴, which a product that is rounded by itself loses.
        string body = "ld.global.f32 %f1, [%rd1]; ld.global.f32 %f2, [%rd1+4]; "
            + "mul.f32 %f3, %f1, %f1; add.f32 %f4, %f3, %f2; st.global.f32 [%rd1+8], %f4;";
        Assert.Equal(0, Run());
        if (!System.Runtime.Intrinsics.X86.Fma.IsSupported) return;
        using (EmulatedDriver.With("CONTRACT", "1")) Assert.Equal(MathF.ScaleB(1, -24), Run());

        float Run()
        {
            using EmulatedContext context = new();
            ulong memory = context.Memory(12, (float[])[1 + MathF.ScaleB(1, -12), -1 - MathF.ScaleB(1, -11), 0]);
            Assert.Null(context.Run(SmallProgram.Of(body), 1, 1, memory));
            return context.Read<float>(memory + 8, 1)[0];
        }
    }

    [EmulatedFact]
    public void What_ran_is_counted_by_kind()
    {
        string body = "setp.ge.u32 %p1, %r1, 8; @%p1 bra END; ld.global.v2.f32 {%f1, %f2}, [%rd1]; "
            + "mul.f32 %f3, %f1, %f2; st.global.f32 [%rd1], %f3; END:";
        string c = Translator.Translate(SmallProgram.Of(body));
        // Of the second run of instructions: two accesses of global memory, a product, eight bytes and four.
        Assert.Contains("{ 0, 1, 0, 0, 2, 0, 0, 0, 0, 8, 4 }", c);
    }

    [EmulatedFact]
    public void A_sample_of_blocks_stands_for_all()
    {
        // Every thread reads one word, which all share, and writes one of its own.
        string body = """
            mov.u32 %r3, %ctaid.x; shl.b32 %r3, %r3, 6; add.u32 %r3, %r3, %r1; mul.wide.u32 %rd3, %r3, 4; add.u64 %rd3, %rd3, %rd2;
            ld.global.u32 %r4, [%rd1]; st.global.u32 [%rd3], 7;
            """;
        string file = Path.GetTempFileName();
        using (EmulatedDriver.With("SAMPLE", "10"))
        using (EmulatedDriver.With("LAUNCHES", file))
        {
            using EmulatedContext context = new();
            nint function = context.Find(context.Load(SmallProgram.Of(body, 2)).Module, SmallProgram.Entry).Function;
            ulong shared = context.Memory(4), own = context.Memory(4 * 6400), other = context.Memory(4 * 6400);
            foreach ((uint blocks, ulong to) in (ReadOnlySpan<(uint, ulong)>)[(100, own), (100, other), (5, own)])
                Assert.Equal(0, context.Launch(function, (blocks, 1, 1), 64, shared, to));
            Assert.Equal(0, context.Wait());
            using (EmulatedDriver.With("ENOUGH", "1"))
            {
                // A million instructions are more than all blocks make.
                Assert.Equal(0, context.Launch(function, (101, 1, 1), 64, shared, context.Memory(4 * 6464)));
                Assert.Equal(0, context.Wait());
            }
            // Ten blocks wrote, the first and the last among them; the second launch is like the first, and was not run.
            int[] written = context.Read<int>(own, 6400);
            Assert.Equal((640 + 5 * 64 - 64, 7, 7), (written.Count(w => w == 7), written[0], written[^1]));
            Assert.All(context.Read<int>(other, 6400), w => Assert.Equal(0, w));
        }
        long[][] told = [.. File.ReadLines(file).Select(line => line.Split('\t')[1..].Select(long.Parse).ToArray())];
        File.Delete(file);
        Assert.Equal([100, 100, 5, 101], told.Select(t => t[0]));
        Assert.Equal([10, 10, 5, 101], told.Select(t => t[4]));
        Assert.Equal([2 * 640, 2 * 640, 2 * 320, 2 * 6464], told.Select(t => t[5 + (int)Cost.Global]));
        Assert.Equal([4 * 640, 4 * 640, 4 * 320, 4 * 6464], told.Select(t => t[5 + (int)Cost.Stored]));
        // At the least memory gives the shared word once, and takes what all blocks write.
        Assert.All(told, t => Assert.Equal(4, t[^2]));
        Assert.Equal([4 * 6400, 4 * 6400, 4 * 320, 4 * 6464], told.Select(t => t[^1]));
    }
}
