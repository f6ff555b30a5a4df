using ILGPU;
using ILGPU.Runtime.CPU;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Device memory, uploads, and what is said where there is no GPU.</summary>
public sealed class GpuMemoryTests
{
    [Fact]
    public void Pieces_are_aligned_and_join_when_they_come_back()
    {
        using Context context = GpuDevice.NewContext(builder => builder.CPU(new CPUDevice(32, 8, 1)));
        using CPUAccelerator accelerator = context.CreateCPUAccelerator(0);
        using BlockAllocator allocator = new(accelerator, 4096);
        GpuStorage[] pieces = [.. Enumerable.Range(0, 4).Select(i => allocator.Take(1000)!)];
        Assert.All(pieces, piece => Assert.Equal(0, piece.Offset % 256));
        Assert.Equal(4096, allocator.TakenBytes);
        allocator.Give(pieces[1]);
        allocator.Give(pieces[0]);
        GpuStorage both = allocator.Take(2048)!;
        Assert.Equal((0L, 4096L), (both.Offset, allocator.TakenBytes));
        GpuStorage large = allocator.Take(10_000)!;
        Assert.Equal(4096 + 10_240, allocator.TakenBytes);
        allocator.Give(large);
        Assert.Equal(4096, allocator.TakenBytes);
        allocator.Give(both);
        allocator.Give(pieces[2]);
        allocator.Give(pieces[3]);
        Assert.Equal(0, allocator.TakenBytes);
    }

    [Fact]
    public void A_second_thread_that_drives_a_device_is_told_so()
    {
        using GpuDevice gpu = TestGpu.Open();
        using Tensor x = gpu.From([1, 2, 3], [3]), y = gpu.Empty([3]);
        gpu.Gelu(x, y);
        using ManualResetEventSlim inside = new(), tried = new();
        Thread first = new(() => gpu.Gelu(x, y));
        gpu.Tap = _ =>
        {
            inside.Set();
            tried.Wait();
            return false;
        };
        first.Start();
        inside.Wait();
        gpu.Tap = null;
        InvalidOperationException launch = Assert.Throws<InvalidOperationException>(() => gpu.Gelu(x, y));
        InvalidOperationException upload = Assert.Throws<InvalidOperationException>(() => gpu.UploadAt([4f, 5, 6], x, 0));
        InvalidOperationException wait = Assert.Throws<InvalidOperationException>(gpu.Synchronize);
        tried.Set();
        first.Join();
        Assert.All((Exception[])[launch, upload, wait], error => Assert.Contains("one thread at a time drives a device", error.Message));
        // The first is not disturbed, and the device can be used afterwards, by any thread.
        Assert.Equal([0.841192f, 1.954598f, 2.996363f], y.ToArray(), (a, b) => MathF.Abs(a - b) < 1e-5f);
    }

    [Fact]
    public void A_steady_loop_takes_no_memory()
    {
        GpuDevice gpu = TestGpu.Device;
        Step();
        (int fresh, long reserved) = (gpu.Pool.FreshAllocations, gpu.ReservedBytes);
        for (int i = 0; i < 3; i++) Step();
        Assert.Equal((fresh, reserved), (gpu.Pool.FreshAllocations, gpu.ReservedBytes));

        void Step()
        {
            using Tensor x = gpu.Zeros([20, 300]), w = gpu.Zeros([300, 7]), y = gpu.Empty([20, 7]), sums = gpu.Empty([7]);
            gpu.MatMul(x, false, w, false, y);
            gpu.ColumnSums(y, sums);
        }
    }

    [Fact]
    public void An_upload_larger_than_the_staging_memory_arrives()
    {
        float[] values = [.. Enumerable.Range(0, 50_001).Select(i => (float)i)];
        using Tensor tensor = TestGpu.Device.From(values, [values.Length]);
        Assert.Equal(values, tensor.ToArray());
    }

    [Theory]
    [InlineData("cuda:x", "is not known")]
    [InlineData("cuda:-1", "is not known")]
    [InlineData("cuda,tf16", "float32 or ,tf32")]
    [InlineData("cuda:99", "cuda:99")]
    [InlineData("cuda:99,tf32", "cuda:99")]
    public void A_device_that_cannot_be_opened_says_why(string name, string part)
    {
        string message = Assert.Throws<NolaException>(() => Device.Open(name)).Message;
        Assert.Contains(part, message);
        Assert.Contains("auto", message);
    }

    [Fact]
    public void The_list_has_the_CPU_and_a_reason_for_every_refusal()
    {
        IReadOnlyList<DeviceInfo> devices = DeviceInfo.List();
        Assert.True(devices[0] is { Name: "cpu", Works: true });
        Assert.All(devices, device => Assert.NotEmpty(device.Detail));

    }
}
