using Nola.Tensors;

namespace Nola.Tests;

/// <summary>Attention with large heads on the CPU.</summary>
public sealed class AttentionTests() : AttentionContract(new CpuDevice(2), 5e-5), IDisposable
{
    public void Dispose() => Device.Dispose();
}
