using Nola.Tensors;

namespace Nola.Tests;

/// <summary>PyTorch's numbers on the CPU.</summary>
public sealed class Gpt2GoldenTests() : Gpt2GoldenContract(new CpuDevice(2))
{
    public override void Dispose()
    {
        base.Dispose();
        Device.Dispose();
    }
}
