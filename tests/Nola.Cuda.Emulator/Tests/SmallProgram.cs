namespace Nola.Cuda.Emulator.Tests;

/// <summary>Small programs of one kernel, which takes addresses.</summary>
internal static class SmallProgram
{
    public const string Entry = "Planted";

    /// <summary>Registers for all, thread and lane in %r1 and %r2, the arguments in %rd1, %rd2, …, and a tile in shared memory.</summary>
    public static string Of(string body, int arguments = 1, int target = 80, int threads = 64, int tile = 1024)
    {
        string parameters = string.Join(", ", Enumerable.Range(1, arguments).Select(i => $".param .u64 p{i}"));
        string loads = string.Concat(Enumerable.Range(1, arguments).Select(i => $"ld.param.u64 %rd{i}, [p{i}];\n"));
        return $$"""
            .version 8.0
            .target sm_{{target}}
            .address_size 64
            .visible .entry {{Entry}}({{parameters}}) .maxntid {{threads}}, 1, 1
            {
            .reg .pred %p<8>;
            .reg .b32 %r<32>;
            .reg .b64 %rd<16>;
            .reg .f32 %f<16>;
            .shared .align 16 .b8 tile[{{tile}}];
            {{loads}}
            mov.u32 %r1, %tid.x;
            mov.u32 %r2, %laneid;
            {{body}}
            ret;
            }
            """;
    }
}
