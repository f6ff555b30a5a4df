namespace Nola.Tests;

/// <summary>The float32 kernels at these sizes.</summary>
public sealed class GpuAttentionTests() : AttentionContract(TestGpu.Device, 5e-5, [7, 32, 48, 80, 128]);

/// <summary>
/// Attention on tensor cores from numbers that bfloat16 does not have. Entries of up to one err by 2⁻⁸ of themselves, so a
/// score q·k/√D by at most 2 · 2⁻⁸ · (D/4)/√D in the mean of |q||k| = 1/4, which is 0.016 for D = 64 and 0.022 for 128; a
/// weight by that share of itself and, rounded, by 2⁻⁸ more; a value by 2⁻⁸ of its own: in sum 0.03 of y, which is at most
/// one. Signs differ, and half of it must do; the gradients' bound is three times that of values.
/// </summary>
public sealed class TensorCoreAttentionTests() : AttentionContract(TestGpu.WithTensorCores(), 1.5e-2, [64, 64, 48, 128]), IDisposable
{
    public void Dispose() => Device.Dispose();
}
