using Nola.Tensors;

namespace Nola.Tests;

/// <summary>The small kernels of a training step on the CPU.</summary>
public sealed class StepKernelTests() : StepKernelContract(new CpuDevice(2)), IDisposable
{
    public void Dispose() => Device.Dispose();
}
