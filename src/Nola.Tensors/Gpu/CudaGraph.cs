using System.Runtime.InteropServices;

namespace Nola.Tensors;

/// <summary>The driver's functions for graphs (CUDA 11.4 and up).</summary>
/// <param name="export">The address of a function of the driver by its name.</param>
/// <param name="explain">What an error code means, for people.</param>
internal sealed unsafe class CudaGraphCalls(Func<string, nint> export, Func<int, string> explain)
{
    // Other threads may do as they like, and this one may take memory: a recording sees its stream only.
    private const int Relaxed = 2;

    private readonly delegate* unmanaged<nint, int, int> begin = (delegate* unmanaged<nint, int, int>)export("cuStreamBeginCapture_v2");
    private readonly delegate* unmanaged<nint, nint*, int> end = (delegate* unmanaged<nint, nint*, int>)export("cuStreamEndCapture");
    private readonly delegate* unmanaged<nint*, nint, ulong, int> instantiate = (delegate* unmanaged<nint*, nint, ulong, int>)export(
        "cuGraphInstantiateWithFlags");
    private readonly delegate* unmanaged<nint, nint, int> launch = (delegate* unmanaged<nint, nint, int>)export("cuGraphLaunch");
    private readonly delegate* unmanaged<nint, int> destroy = (delegate* unmanaged<nint, int>)export("cuGraphDestroy");
    private readonly delegate* unmanaged<nint, int> destroyInstance = (delegate* unmanaged<nint, int>)export("cuGraphExecDestroy");

    /// <summary>Those of a loaded driver.</summary>
    /// <exception cref="NolaException">The driver is too old.</exception>
    public static CudaGraphCalls Load()
    {
        if (!CudaDriver.TryLoad(out nint library)) throw new NolaException("there is no driver to record graphs");
        try
        {
            return new(name => NativeLibrary.GetExport(library, name), code => CudaDriver.Explain(library, code));
        }
        catch (EntryPointNotFoundException error)
        {
            throw new NolaException($"the driver is too old for graphs: {error.Message}");
        }
    }

    /// <summary>Begins to record a stream.</summary>
    public void Begin(nint stream) => Check("cuStreamBeginCapture", begin(stream, Relaxed));

    /// <summary>Ends it, and makes what was recorded ready for launching.</summary>
    public nint End(nint stream)
    {
        nint graph = 0, instance = 0;
        Check("cuStreamEndCapture", end(stream, &graph));
        if (graph == 0) throw new NolaException("cuStreamEndCapture gave no graph");
        int code = instantiate(&instance, graph, 0);
        // The instance is a copy.
        _ = destroy(graph);
        Check("cuGraphInstantiate", code);
        return instance;
    }

    /// <summary>Ends it without a result.</summary>
    public void Abandon(nint stream)
    {
        nint graph = 0;
        _ = end(stream, &graph);
        if (graph != 0) _ = destroy(graph);
    }

    /// <summary>Queues an instance.</summary>
    public void Launch(nint instance, nint stream) => Check("cuGraphLaunch", launch(instance, stream));

    /// <summary>Frees an instance.</summary>
    public void Free(nint instance) => _ = destroyInstance(instance);

    private void Check(string call, int code)
    {
        if (code != 0) throw new NolaException($"{call}: {explain(code)}");
    }
}

/// <summary>Records a stream of the driver.</summary>
/// <param name="calls">The driver.</param>
/// <param name="stream">A stream that was created: the default one cannot be recorded.</param>
/// <param name="bind">Makes the device's context this thread's.</param>
internal sealed class CudaGraphRecorder(CudaGraphCalls calls, nint stream, Action bind) : GraphRecorder
{
    /// <inheritdoc/>
    public override void Begin()
    {
        bind();
        calls.Begin(stream);
    }

    /// <inheritdoc/>
    public override LaunchGraph End()
    {
        bind();
        return new Graph(calls, stream, bind, calls.End(stream));
    }

    /// <inheritdoc/>
    public override void Abandon()
    {
        bind();
        calls.Abandon(stream);
    }

    private sealed class Graph(CudaGraphCalls calls, nint stream, Action bind, nint instance) : LaunchGraph
    {
        private bool freed;

        public override void Launch()
        {
            bind();
            calls.Launch(instance, stream);
        }

        public override void Dispose()
        {
            if (freed) return;
            freed = true;
            bind();
            calls.Free(instance);
        }
    }
}
