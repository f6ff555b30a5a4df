using Nola.Tensors;

namespace Nola.Tests;

/// <summary>
/// Graphs without a driver: kernels are taken before they are queued, and a launch queues them with the arguments that they had,
/// as the driver does.
/// </summary>
internal sealed class TapRecorder(GpuDevice gpu) : GraphRecorder
{
    private List<GpuDevice.QueuedKernel> taken = [];

    /// <summary>What has been recorded, the check's first.</summary>
    public List<TapGraph> Graphs { get; } = [];

    /// <summary>Whether the last kernel of every recording is lost, as by a driver with a fault.</summary>
    public bool LosesOne { get; init; }

    /// <summary>Recordings from this one on fail.</summary>
    public int FailsFrom { get; init; } = int.MaxValue;

    public override void Begin()
    {
        taken = [];
        gpu.Tap = kernel =>
        {
            taken.Add(kernel);
            return true;
        };
    }

    public override LaunchGraph End()
    {
        gpu.Tap = null;
        if (Graphs.Count >= FailsFrom) throw new NolaException("cuStreamEndCapture: error 901");
        if (LosesOne) taken.RemoveAt(taken.Count - 1);
        Graphs.Add(new TapGraph(taken));
        return Graphs[^1];
    }

    public override void Abandon() => gpu.Tap = null;

    internal sealed class TapGraph(List<GpuDevice.QueuedKernel> kernels) : LaunchGraph
    {
        public IReadOnlyList<GpuDevice.QueuedKernel> Kernels => kernels;

        public int Launches { get; private set; }

        public bool IsDisposed { get; private set; }

        public override void Launch()
        {
            if (IsDisposed) throw new ObjectDisposedException(nameof(TapGraph));
            Launches++;
            foreach (GpuDevice.QueuedKernel kernel in kernels) kernel.Queue();
        }

        public override void Dispose() => IsDisposed = true;
    }
}
