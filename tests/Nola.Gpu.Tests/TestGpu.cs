using ILGPU;
using ILGPU.Runtime.CPU;
using Nola.Tensors;
using Xunit;

// One device, which one thread drives; the simulated one uses both cores anyway.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace Nola.Tests;

/// <summary>
/// The device under test: ILGPU's CPU accelerator, which runs the kernels thread by thread, or with NOLA_TEST_DEVICE=cuda
/// (or cuda:1, …) a real one.
/// </summary>
internal static class TestGpu
{
    private static readonly Lazy<GpuDevice> device = new(Open);

    public static string? Name => Environment.GetEnvironmentVariable("NOLA_TEST_DEVICE");

    public static GpuDevice Device => device.Value;

    /// <summary>A warp of 32 and blocks of up to 256 threads, as the kernels want them.</summary>
    public static GpuDevice Simulated(Products products = Products.Float32)
    {
        Context context = GpuDevice.NewContext(builder => builder.CPU(new CPUDevice(32, 8, 1)));
        return new GpuDevice(context, context.CreateCPUAccelerator(0), "simulated", "ILGPU's CPU accelerator", products);
    }

    /// <summary>One of its own with products on tensor cores, simulated or real.</summary>
    public static GpuDevice WithTensorCores() =>
        Name is { } name ? (GpuDevice)Nola.Tensors.Device.Open(name) : Simulated(Products.BFloat16);

    /// <summary>The same with TF32.</summary>
    public static GpuDevice WithTf32() => Name is { } name ? (GpuDevice)Nola.Tensors.Device.Open(name + ",tf32") : Simulated(Products.Tf32);

    /// <summary>One of its own, in float32.</summary>
    public static GpuDevice Open() => Name is { } name ? (GpuDevice)Nola.Tensors.Device.Open(name + ",float32") : Simulated();
}

/// <summary>
/// How often properties are drawn, and how many of their sizes:
/// a simulated thread is thousands of times slower than a real one.
/// </summary>
internal static class ContractRuns
{
    public static int Of(int runs) => TestGpu.Name is null ? Math.Max(2, runs / 10) : runs;

    public static int Sizes(int count) => TestGpu.Name is not null ? count : count > 100 ? count / 5 : count * 2 / 3;
}
