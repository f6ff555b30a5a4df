using Nola.Tensors;

namespace Nola.Tests;

/// <summary>Low-rank products of few rows on the CPU.</summary>
public sealed class LowRankRowsTests() : LowRankRowsContract(new CpuDevice(2)), IDisposable
{
    public void Dispose() => Device.Dispose();
}
