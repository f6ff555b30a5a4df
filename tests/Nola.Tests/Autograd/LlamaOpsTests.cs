using Nola.Tensors;

namespace Nola.Tests;

/// <summary>The operations of the LLaMA family on the CPU.</summary>
public sealed class LlamaOpsTests() : LlamaOpsContract(new CpuDevice(2)), IDisposable
{
    public void Dispose() => Device.Dispose();
}
