using Xunit;

namespace Nola.Cuda.Emulator.Tests;

/// <summary>
/// Small programs with a fault of each kind, which must be found,
/// and beside them the same without it, where nothing may be.
/// </summary>
public sealed class PlantedFaultTests
{
    private const string OwnWord = "shl.b32 %r3, %r1, 2; mov.u32 %r4, tile; add.u32 %r3, %r3, %r4;\n";

    /// <summary>The kind of fault, what is said of it, the body of the program, and the body without the fault.</summary>
    public static TheoryData<string, string, string, string> Faults => new()
    {
        {
            "illegal", "700: an illegal memory access was encountered: illegal address",
            "st.global.u32 [%rd1+256], %r1;",
            "st.global.u32 [%rd1+244], 1;"
        },
        { "illegal read before", "illegal address", "ld.global.u32 %r3, [%rd1+-4];", "ld.global.u32 %r3, [%rd2+0];" },
        {
            "illegal end", "illegal address",
            "st.global.v4.u32 [%rd1+240], {%r1, %r1, %r1, %r1};",
            "st.global.v2.u32 [%rd1+240], {%r1, %r1};"
        },
        { "misaligned", "716: misaligned address: misaligned address", "st.global.u32 [%rd1+2], 1;", "st.global.u32 [%rd1+4], 1;" },
        {
            "misaligned vector", "misaligned address",
            "ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd2+8];",
            "ld.global.v2.u32 {%r3, %r4}, [%rd2+8];"
        },
        {
            "unwritten", "719: unspecified launch failure: read of global memory that nobody wrote",
            "ld.global.u32 %r3, [%rd1];",
            "ld.global.u32 %r3, [%rd2];"
        },
        {
            "unwritten half", "read of global memory that nobody wrote",
            "st.global.b16 [%rd1], 1; ld.global.u32 %r3, [%rd1];",
            "st.global.b16 [%rd1], 1; ld.global.b16 %r3, [%rd1];"
        },
        {
            "shared unwritten", "read of shared memory that nobody wrote",
            OwnWord + "ld.shared.u32 %r5, [%r3];",
            OwnWord + "st.shared.u32 [%r3], 1; ld.shared.u32 %r5, [%r3];"
        },
        { "shared outside", "address outside shared memory", "st.shared.u32 [tile+1024], 1;", OwnWord + "st.shared.u32 [%r3], 1;" },
        {
            "shared misaligned", "misaligned address in shared memory",
            OwnWord + "st.shared.u32 [%r3+1], 1;",
            OwnWord + "st.shared.u32 [%r3+4], 1; bar.sync 0;"
        },
        { "race of warps, read", "race: a word", Exchange(32, ""), Exchange(32, "bar.sync 0;") },
        { "race of lanes, read", "race: a lane", Exchange(1, ""), Exchange(1, "bar.warp.sync 0xffffffff;") },
        {
            "race of lanes, write", "race: two lanes write a word",
            "setp.ge.u32 %p1, %r1, 32; @%p1 bra END; st.shared.u32 [tile], %r1; END:",
            OwnWord + "st.shared.u32 [%r3], %r1;"
        },
        {
            "race of warps, write", "race: two warps write a word",
            "setp.ne.u32 %p1, %r2, 0; @%p1 bra END; st.shared.u32 [tile], %r1; END:",
            OwnWord + "st.shared.u32 [%r3], %r1;"
        },
        { "race of an atomic operation", "race: two", Lowest(""), Lowest("bar.sync 0;") },
        {
            "race of write after read", "race:",
            OwnWord + "st.shared.u32 [%r3], 1; bar.sync 0; xor.b32 %r4, %r3, 128; ld.shared.u32 %r5, [%r4]; st.shared.u32 [%r3], 2;",
            OwnWord + "st.shared.u32 [%r3], 1; bar.sync 0; xor.b32 %r4, %r3, 128; "
            + "ld.shared.u32 %r5, [%r4]; bar.sync 0; st.shared.u32 [%r3], 2;"
        },
        {
            "missing lanes", "operation of a warp with missing lanes",
            "setp.ge.u32 %p1, %r2, 16; @%p1 bra END; " + Shuffle + " END:",
            Shuffle
        },
        {
            "lanes at two operations", "lanes of a warp meet at different operations",
            $"setp.ge.u32 %p1, %r2, 16; @%p1 bra OTHER; {Shuffle} bra.uni END;\nOTHER: {Shuffle} END:",
            Shuffle
        },
        {
            "divergent bra.uni", "bra.uni taken by some lanes only",
            "setp.ge.u32 %p1, %r2, 16; @%p1 bra.uni END; END:",
            "setp.ge.u32 %p1, %r1, 32; @%p1 bra.uni END; END:"
        },
        { "divergent bra.uni in a loop", "bra.uni taken by some lanes only", Loop("%r2"), Loop("5") },
        {
            "negative number shifted", "signed shift that rounds a negative number down",
            "mov.s32 %r3, -5; shr.s32 %r3, %r3, 1;",
            "mov.s32 %r3, -6; shr.s32 %r3, %r3, 1; mov.s32 %r4, -5; shr.u32 %r4, %r4, 1;"
        },
        {
            "negative number shifted out", "signed shift that rounds a negative number down",
            "mov.s32 %r3, -1; shr.s32 %r3, %r3, 32;",
            "mov.s32 %r3, 1; shr.s32 %r3, %r3, 32;"
        },
        {
            "barrier of one warp", "barrier that some warps do not reach",
            "setp.ge.u32 %p1, %r1, 32; @%p1 bra END; bar.sync 0; END:",
            "bar.sync 0;"
        },
        {
            "barrier of half a warp", "barrier that some lanes of a warp do not reach",
            "setp.ge.u32 %p1, %r2, 16; @%p1 bra END; bar.sync 0; END:",
            "bar.sync 0;"
        },
        {
            "two barriers", "threads meet at different barriers",
            "setp.ge.u32 %p1, %r1, 32; @%p1 bra OTHER; bar.sync 0; bra.uni END;\nOTHER: bar.sync 0;\n END:",
            "bar.sync 0;"
        },
        {
            "copy not waited for", "read of an asynchronous copy that was not waited for",
            Copied("", ""),
            Copied("cp.async.commit_group; cp.async.wait_group 0;", "")
        },
        {
            "copy of another group", "read of an asynchronous copy that was not waited for",
            Copied("cp.async.commit_group; cp.async.wait_group 1;", ""),
            Copied("cp.async.commit_group; cp.async.commit_group; cp.async.wait_group 1;", "")
        },
        {
            "copy without a commit", "read of an asynchronous copy that was not waited for",
            Copied("cp.async.wait_group 0;", ""),
            Copied("cp.async.commit_group; cp.async.wait_group 0;", "")
        },
        {
            "copy of another warp", "race: a word is written that another warp reads",
            Copied("cp.async.commit_group; cp.async.wait_group 0;", "xor.b32 %r3, %r3, 512;"),
            Copied("cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;", "xor.b32 %r3, %r3, 512;")
        },
        {
            "copy at the end", "asynchronous copies are under way at the end",
            CopyOwn,
            CopyOwn + "cp.async.commit_group; cp.async.wait_group 0;"
        },
        {
            "copy misaligned", "misaligned asynchronous copy",
            CopyOwn.Replace("[%r3]", "[%r3+8]"),
            CopyOwn + "cp.async.commit_group; cp.async.wait_group 0;"
        },
        {
            "copy from nowhere", "asynchronous copy from an illegal address",
            CopyOwn.Replace("%rd2", "%rd1"),
            CopyOwn.Replace("16;", "16, 0;").Replace("%rd2", "%rd1") + "cp.async.commit_group; cp.async.wait_group 0;"
        },
        {
            "unwritten through a copy", "read of shared memory that nobody wrote",
            Copied("cp.async.commit_group; cp.async.wait_group 0;", "").Replace("%rd2", "%rd3"),
            Copied("cp.async.commit_group; cp.async.wait_group 0;", "")
        },
        {
            "division", "division of whole numbers by zero",
            "mov.u32 %r3, 0; div.u32 %r4, %r1, %r3;",
            "mov.u32 %r3, 3; div.u32 %r4, %r1, %r3;"
        },
    };

    private const string Shuffle = "shfl.sync.bfly.b32 %r3, %r1, 1, 31, 0xffffffff;";

    private const string CopyOwn = "shl.b32 %r3, %r1, 4; cvt.u64.u32 %rd4, %r3; add.u64 %rd4, %rd4, %rd2; "
        + "mov.u32 %r4, tile; add.u32 %r3, %r3, %r4; cp.async.cg.shared.global [%r3], [%rd4], 16;\n";

    [EmulatedTheory]
    [MemberData(nameof(Faults))]
    public void A_planted_fault_is_found_and_its_absence_is_not(string kind, string said, string faulty, string sound)
    {
        foreach (string order in (string[])["", "reverse"])
        {
            using IDisposable lanes = EmulatedDriver.With("LANES", order);
            Assert.Null(Run(sound));
            string? found = Run(faulty);
            Assert.True(found is not null && found.Contains(said), $"{kind}: {found}");
            Assert.Contains("in Planted, line ", found);
        }
    }

    [EmulatedFact]
    public void After_a_fault_every_call_of_its_context_fails_and_others_do_not()
    {
        using EmulatedContext broken = new();
        ulong memory = broken.Memory(256);
        Assert.StartsWith("700", broken.Run(SmallProgram.Of("st.global.u32 [%rd1+1024], 1;"), 1, 32, memory));
        Assert.Equal(700, broken.Wait());
        Assert.StartsWith("700", Assert.Throws<InvalidOperationException>(() => broken.Memory(256)).Message);
        using EmulatedContext other = new();
        Assert.Null(other.Run(SmallProgram.Of("st.global.u32 [%rd1+16], 1;"), 1, 32, other.Memory(256)));
    }

    [EmulatedFact]
    public void Findings_can_be_counted_instead()
    {
        using IDisposable lenient = EmulatedDriver.With("LENIENT", "1");
        long before = EmulatedDriver.Findings;
        Assert.Null(Run("ld.global.u32 %r3, [%rd1];"));
        Assert.True(EmulatedDriver.Findings > before);
    }

    private static string? Run(string body)
    {
        using EmulatedContext context = new();
        return context.Run(SmallProgram.Of(body, 3), 1, 64, context.Memory(248), context.Memory(1024, new int[256]), context.Memory(1024));
    }

    // Each thread writes its word, which was known before, and reads that of another.
    private static string Exchange(int apart, string between) => $"{OwnWord} st.shared.u32 [%r3], 0; bar.sync 0; "
        + $"st.shared.u32 [%r3], %r1; {between} xor.b32 %r3, %r3, {4 * apart}; ld.shared.u32 %r5, [%r3];";

    // The last thread sets the word that the others compare with theirs.
    private static string Lowest(string between) => $"{OwnWord} st.shared.u32 [%r3], 0; bar.sync 0; "
        + $"setp.ne.u32 %p1, %r1, 63; @%p1 bra SET; st.shared.u32 [tile], 7;\nSET: {between} red.shared.min.u32 [tile], %r1;";

    private static string Loop(string times) =>
        $"mov.u32 %r3, 0;\nAGAIN: add.u32 %r3, %r3, 1; setp.le.u32 %p1, %r3, {times}; @%p1 bra.uni AGAIN;";

    // Each thread copies 16 bytes over what it wrote, and reads from there, or from where another's are.
    private static string Copied(string wait, string other) =>
        $"shl.b32 %r5, %r1, 4; mov.u32 %r6, tile; add.u32 %r5, %r5, %r6; st.shared.v4.u32 [%r5], {{%r1, %r1, %r1, %r1}}; bar.sync 0; "
        + $"{CopyOwn} {wait} {other} ld.shared.u32 %r5, [%r3];"
        + (wait.Contains("commit") && !wait.StartsWith("cp.async.commit_group; cp.async.wait_group 1", StringComparison.Ordinal)
            ? ""
            : " cp.async.commit_group; cp.async.wait_group 0;");
}
