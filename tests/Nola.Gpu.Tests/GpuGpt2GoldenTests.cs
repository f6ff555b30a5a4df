namespace Nola.Tests;

/// <summary>A whole model on the GPU against PyTorch's numbers.</summary>
public sealed class GpuGpt2GoldenTests() : Gpt2GoldenContract(TestGpu.Device);
