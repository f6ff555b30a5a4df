using ILGPU.Runtime.Cuda;

namespace Nola.Tensors;

/// <summary>
/// Repeated calls as graphs. A graph holds the addresses that its kernels were queued with, so everything that they allocate
/// while they are recorded comes from a pool that nobody else is given memory of, for as long as the graph lives.
/// </summary>
public sealed partial class GpuDevice
{
    private GraphRecorder? recorder;
    private string? graphs;
    private bool recording;

    /// <summary>
    /// Whether repeated calls become graphs, and why not;
    /// found out when it is first needed, by recording a few kernels and comparing bits.
    /// </summary>
    public string Graphs
    {
        get
        {
            _ = Recorder();
            return graphs!;
        }
    }

    /// <inheritdoc/>
    public override Replay NewReplay() => new GpuReplay(this);

    /// <summary>Records by other means than the driver's, after the same check.</summary>
    internal void RecordWith(GraphRecorder other)
    {
        recorder = null;
        graphs = Checked(() => other);
    }

    private GraphRecorder? Recorder()
    {
        graphs ??= accelerator is CudaAccelerator
            ? Checked(() => new CudaGraphRecorder(CudaGraphCalls.Load(), ((CudaStream)stream).StreamPtr, accelerator.Bind))
            : "no graphs: not a CUDA device";
        return recorder;
    }

    // Sets the recorder if it works.
    private string Checked(Func<GraphRecorder> open)
    {
        try
        {
            GraphRecorder opened = open();
            CheckGraphs(opened);
            recorder = opened;
            return "graphs for repeated calls";
        }
        catch (Exception error)
        {
            return $"no graphs: {error.Message}";
        }
    }

    // A chain of kernels that change what they read, with memory of their own: the second and third run must go on where the
    // one before ended, with the bits of calls one by one.
    private void CheckGraphs(GraphRecorder candidate)
    {
        float[] start = [.. Enumerable.Range(0, 1003).Select(i => 0.01f * i)];
        float[] expected = Run(calls => calls());
        MemoryPool own = PrivatePool();
        LaunchGraph? graph = null;
        try
        {
            float[] got = Run(calls => (graph ??= Record(candidate, own, calls)).Launch());
            for (int i = 0; i < got.Length; i++)
                if (got[i] != expected[i])
                    throw new NolaException($"element {i} is {got[i]} after three replays and should be {expected[i]}");
        }
        finally
        {
            graph?.Dispose();
            own.Close();
        }

        float[] Run(Action<Action> repeat)
        {
            using Tensor x = From(start, [start.Length]), sum = Zeros([]);
            for (int i = 0; i < 3; i++) repeat(Chain);
            return [.. x.ToArray(), sum.Item()];

            void Chain()
            {
                using Tensor y = Empty(x.Shape), one = Empty([]);
                Gelu(x, y);
                Axpby(0.5f, y, 1, x);
                Sum(x, one);
                Add(one, sum, sum);
            }
        }
    }

    private LaunchGraph Record(GraphRecorder with, MemoryPool own, Action calls)
    {
        with.Begin();
        recording = true;
        try
        {
            WithPool(own, calls);
        }
        catch
        {
            with.Abandon();
            throw;
        }
        finally
        {
            recording = false;
        }
        return with.End();
    }

    // When the device has no more memory, what the common pool keeps is taken from it.
    private MemoryPool PrivatePool()
    {
        MemoryPool common = Pool;
        return new(Name, bytes => Take(bytes), Free);

        Storage? Take(long bytes)
        {
            if (Allocate(bytes) is { } storage) return storage;
            common.Trim();
            return Allocate(bytes);
        }
    }

    private void CheckNotRecording(string what)
    {
        if (recording) throw new InvalidOperationException($"{what} cannot be recorded; move it out of the calls that are repeated.");
    }

    /// <summary>Runs calls once as they are, so that their kernels are compiled and what they keep is made; then records them.</summary>
    private sealed class GpuReplay(GpuDevice device) : Replay
    {
        private MemoryPool? own;
        private LaunchGraph? graph;
        private bool ran;

        public override void Run(Action calls)
        {
            if (!ran || device.Recorder() is not { } recorder)
            {
                calls();
                ran = true;
                return;
            }
            try
            {
                graph ??= device.Record(recorder, own ??= device.PrivatePool(), calls);
                graph.Launch();
            }
            catch (Exception error)
            {
                // What is wrong with the calls themselves is thrown again by them.
                device.recorder = null;
                device.graphs = $"no graphs: {error.Message}";
                calls();
            }
        }

        protected override void Dispose(bool disposing)
        {
            if (graph is not null) Quietly.Do(device.Wait);
            graph?.Dispose();
            own?.Close();
            (graph, own) = (null, null);
        }
    }
}
