using System.Runtime.InteropServices;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// What the driver is asked for a graph, and what becomes of its answers;
/// the driver is a few functions that note their arguments.
/// </summary>
public sealed unsafe class CudaGraphCallsTests
{
    private static readonly List<string> asked = [];

    private static int endCode, instantiateCode;

    private readonly CudaGraphRecorder recorder;

    public CudaGraphCallsTests()
    {
        asked.Clear();
        (endCode, instantiateCode) = (0, 0);
        CudaGraphCalls calls = new(Export, code => $"error {code}");
        recorder = new(calls, 77, () => asked.Add("bind"));
    }

    [Fact]
    public void A_stream_is_recorded_made_ready_launched_and_freed()
    {
        recorder.Begin();
        LaunchGraph graph = recorder.End();
        graph.Launch();
        graph.Launch();
        graph.Dispose();
        graph.Dispose();
        // Relaxed (2): memory may be taken while recording. What was recorded is destroyed when it has been made ready.
        Assert.Equal(
            ["begin 77 2", "end 77", "instantiate 5 0", "destroy 5", "launch 6 77", "launch 6 77", "free 6"],
            asked.Where(a => a != "bind"));
        Assert.Equal(["bind", "begin 77 2", "bind", "end 77"], asked.Take(4));
    }

    [Fact]
    public void Errors_say_which_call_failed_and_leave_nothing_behind()
    {
        endCode = 901;
        Assert.Equal("cuStreamEndCapture: error 901", Assert.Throws<NolaException>(recorder.End).Message);
        (endCode, instantiateCode) = (0, 2);
        Assert.Equal("cuGraphInstantiate: error 2", Assert.Throws<NolaException>(recorder.End).Message);
        Assert.Equal("destroy 5", asked[^1]);
        recorder.Abandon();
        Assert.Equal(["end 77", "destroy 5"], asked.TakeLast(2));
    }

    private static nint Export(string name) => name switch
    {
        "cuStreamBeginCapture_v2" => (nint)(delegate* unmanaged<nint, int, int>)&Begin,
        "cuStreamEndCapture" => (nint)(delegate* unmanaged<nint, nint*, int>)&End,
        "cuGraphInstantiateWithFlags" => (nint)(delegate* unmanaged<nint*, nint, ulong, int>)&Instantiate,
        "cuGraphLaunch" => (nint)(delegate* unmanaged<nint, nint, int>)&Launch,
        "cuGraphDestroy" => (nint)(delegate* unmanaged<nint, int>)&Destroy,
        "cuGraphExecDestroy" => (nint)(delegate* unmanaged<nint, int>)&Free,
        _ => throw new EntryPointNotFoundException(name),
    };

    private static int Note(string call, int code = 0)
    {
        asked.Add(call);
        return code;
    }

    [UnmanagedCallersOnly]
    private static int Begin(nint stream, int mode) => Note($"begin {stream} {mode}");

    [UnmanagedCallersOnly]
    private static int End(nint stream, nint* graph)
    {
        *graph = 5;
        return Note($"end {stream}", endCode);
    }

    [UnmanagedCallersOnly]
    private static int Instantiate(nint* instance, nint graph, ulong flags)
    {
        *instance = 6;
        return Note($"instantiate {graph} {flags}", instantiateCode);
    }

    [UnmanagedCallersOnly]
    private static int Launch(nint instance, nint stream) => Note($"launch {instance} {stream}");

    [UnmanagedCallersOnly]
    private static int Destroy(nint graph) => Note($"destroy {graph}");

    [UnmanagedCallersOnly]
    private static int Free(nint instance) => Note($"free {instance}");
}
