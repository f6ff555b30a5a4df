using Nola.Tensors;

namespace Nola.Tests;

/// <summary>Frozen weights on the CPU.</summary>
public sealed class FrozenMatrixTests() : FrozenMatrixContract(new CpuDevice(2)), IDisposable
{
    public void Dispose() => Device.Dispose();
}
