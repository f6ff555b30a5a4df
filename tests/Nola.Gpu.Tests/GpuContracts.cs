namespace Nola.Tests;

/// <summary>Every operation on the GPU.</summary>
public sealed class GpuOpsTests() : OpsContract(TestGpu.Device);

/// <summary>The mixing product on the GPU.</summary>
public sealed class GpuBasisMixTests() : BasisMixContract(TestGpu.Device);

/// <summary>Frozen weights on the GPU.</summary>
public sealed class GpuFrozenMatrixTests() : FrozenMatrixContract(TestGpu.Device);

/// <summary>A whole model on the GPU against PyTorch's numbers.</summary>
public sealed class GpuGpt2GoldenTests() : Gpt2GoldenContract(TestGpu.Device);
