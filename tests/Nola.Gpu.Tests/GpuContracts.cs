namespace Nola.Tests;

/// <summary>Every operation on the GPU.</summary>
public sealed class GpuOpsTests() : OpsContract(TestGpu.Device);

/// <summary>The operations of the LLaMA family on the GPU.</summary>
public sealed class GpuLlamaOpsTests() : LlamaOpsContract(TestGpu.Device);

/// <summary>The mixing product on the GPU.</summary>
public sealed class GpuBasisMixTests() : BasisMixContract(TestGpu.Device);

/// <summary>Frozen weights on the GPU.</summary>
public sealed class GpuFrozenMatrixTests() : FrozenMatrixContract(TestGpu.Device);

/// <summary>The kernels of decoding on the GPU.</summary>
public sealed class GpuDecodingKernelTests() : DecodingKernelContract(TestGpu.Device);

/// <summary>Low-rank products of few rows on the GPU.</summary>
public sealed class GpuLowRankRowsTests() : LowRankRowsContract(TestGpu.Device);

/// <summary>The small kernels of a training step on the GPU.</summary>
public sealed class GpuStepKernelTests() : StepKernelContract(TestGpu.Device);

/// <summary>Methods whose deltas are made of what they train, on the GPU.</summary>
public sealed class GpuAdapterMethodTests() : AdapterMethodContract(TestGpu.Device);
