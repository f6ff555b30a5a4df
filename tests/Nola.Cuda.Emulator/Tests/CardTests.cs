using Nola.Tensors;
using Xunit;

namespace Nola.Cuda.Emulator.Tests;

/// <summary>What a user's first run may meet, with the program's own way to the driver.</summary>
public sealed class CardTests
{
    [EmulatedFact]
    public void A_card_opens_where_the_drivers_only_name_is_libcuda_so_1()
    {
        Assert.Equal(["libcuda.so.1"], Directory.GetFiles(DriverBuild.Make()).Select(Path.GetFileName));
        using Device device = Open("cuda");
        Assert.Contains("bfloat16 products on tensor cores", device.Description);
    }

    [EmulatedFact]
    public void Cards_open_side_by_side_and_again()
    {
        using IDisposable two = EmulatedDriver.With("CARDS", "2");
        for (int i = 0; i < 2; i++)
        {
            using Device first = Open("cuda:0,float32"), second = Open("cuda:1,float32");
            using Tensor x = first.From([1f, 2], [2]), y = second.From([3f], []);
            Assert.Equal([1, 2], x.ToArray());
            Assert.Equal(3, y.Item());
        }
        Assert.Contains("there are only cuda:0 … cuda:1", Assert.Throws<NolaException>(() => Open("cuda:2")).Message);
    }

    [EmulatedTheory]
    [InlineData(802, "nvidia-fabricmanager")]
    [InlineData(803, "restart the machine")]
    [InlineData(804, "cuda-compat")]
    [InlineData(100, "CUDA_VISIBLE_DEVICES")]
    [InlineData(999, "nvidia_uvm")]
    public void A_driver_that_does_not_start_says_what_to_do(int code, string how)
    {
        _ = EmulatedDriver.Library;
        using IDisposable failing = EmulatedDriver.With("FAIL", $"cuInit={code}");
        Assert.Contains(how, Assert.Throws<NolaException>(() => Device.Open("cuda")).Message);
        DeviceInfo cuda = DeviceInfo.List().Single(d => d.Name == "cuda");
        Assert.Contains($"error {code}", cuda.Detail);
        Assert.Contains(how, cuda.Detail);
    }

    [EmulatedFact]
    public void A_card_works_without_page_locked_memory()
    {
        _ = EmulatedDriver.Library;
        using IDisposable failing = EmulatedDriver.With("FAIL", "cuMemHostRegister_v2=801");
        using GpuDevice device = Open("cuda,float32");
        Assert.False(device.IsPageLocked);
        float[] values = [.. Enumerable.Range(0, 3_000_000).Select(i => (float)i)];         // more than staging holds
        using Tensor x = device.From(values, [values.Length]);
        Assert.Equal(values, x.ToArray());
    }

    [EmulatedFact]
    public void A_kernel_that_the_driver_does_not_take_is_named_with_the_drivers_reason()
    {
        _ = EmulatedDriver.Library;
        string log = Path.GetTempFileName();
        File.WriteAllText(log, "ptxas fatal : Unsupported .version 9.9");
        try
        {
            using IDisposable says = EmulatedDriver.With("SAYS", log), failing = EmulatedDriver.With("FAIL", "cuModuleLoadDataEx=218");
            string message = Assert.Throws<NolaException>(() => Open("cuda")).Message;
            Assert.Contains("failed its self-test: the driver does not take kernel ElementwiseKernels.Fill: ", message);
            Assert.Contains("ptxas fatal : Unsupported .version 9.9", message);
        }
        finally
        {
            File.Delete(log);
        }
    }

    [EmulatedFact]
    public void The_first_error_is_what_a_using_block_throws()
    {
        string message = Assert.Throws<NolaException>(ReadUnwritten).Message;
        Assert.Contains("read of global memory that nobody wrote", message);
        Assert.Contains("NOLA_GPU_SYNC=1", message);
    }

    [EmulatedFact]
    public void A_failed_device_is_not_said_to_be_out_of_memory()
    {
        using GpuDevice device = Open("cuda,float32");
        using (EmulatedDriver.With("FAIL", "cuMemAlloc_v2=2"))
            Assert.Contains("Out of memory on cuda:0", Assert.Throws<NolaException>(() => device.Empty([50_000_000])).Message);
        using (EmulatedDriver.With("FAIL", "cuMemAlloc_v2=700"))
            Assert.StartsWith(
                "Device cuda:0 failed: an illegal memory access was encountered",
                Assert.Throws<NolaException>(() => device.Empty([50_000_000])).Message);
    }

    [EmulatedFact]
    public void With_NOLA_GPU_SYNC_the_kernel_is_named()
    {
        Environment.SetEnvironmentVariable(GpuDevice.SyncVariable, "1");
        try
        {
            Assert.StartsWith("Kernel ElementwiseKernels.Axpby failed on cuda:0: ", Assert.Throws<NolaException>(ReadUnwritten).Message);
        }
        finally
        {
            Environment.SetEnvironmentVariable(GpuDevice.SyncVariable, null);
        }
    }

    [EmulatedFact]
    public void Doctor_tries_what_training_and_decoding_use()
    {
        _ = EmulatedDriver.Library;
        Assert.EndsWith("libcuda.so.1", CardCheck.Library);
        IReadOnlyList<(string Part, string Result)> lines = CardCheck.Run("cuda:0");
        Assert.Equal(["compiler", "memory", "forward", "backward", "decoding", "graphs", "TF32"], lines.Select(l => l.Part));
        Assert.Matches("^8[.]8; the first kernel, ElementwiseKernels.Fill, took [0-9]+ ms$", lines[0].Result);
        Assert.Equal(
            ["page-locked for copies", "passed", "passed", "passed", "graphs for repeated calls", "passed"],
            lines.Skip(1).Select(l => l.Result));
    }

    [EmulatedFact]
    public void Separate_tensors_are_separate_allocations()
    {
        Environment.SetEnvironmentVariable(GpuDevice.SeparateVariable, "1");
        try
        {
            using GpuDevice device = Open("cuda,float32");
            long before = device.ReservedBytes;
            using Tensor x = device.Empty([256]);
            Assert.Equal(before + 1024, device.ReservedBytes);
        }
        finally
        {
            Environment.SetEnvironmentVariable(GpuDevice.SeparateVariable, null);
        }
    }

    [EmulatedTheory]
    [InlineData("7.5", "float32 products")]
    [InlineData("8.0", "bfloat16 products on tensor cores")]
    [InlineData("9.0", "bfloat16 products on tensor cores")]
    [InlineData("12.0", "bfloat16 products on tensor cores")]
    public void Generations_of_cards_open(string capability, string how)
    {
        _ = EmulatedDriver.Library;
        using IDisposable generation = EmulatedDriver.With("CAPABILITY", capability);
        using Device device = Open("cuda");
        Assert.Contains($"compute capability {capability}", device.Description);
        Assert.Contains(how, device.Description);
    }

    // The pool has nothing yet, so an empty tensor is memory that nobody wrote.
    private static void ReadUnwritten()
    {
        using GpuDevice device = Open("cuda,float32");
        using Tensor x = device.Empty([70_000]), y = device.Zeros([70_000]);
        using Replay replay = device.NewReplay();
        device.Axpby(1, x, 1, y);
        y.ToArray();
    }

    private static GpuDevice Open(string name)
    {
        _ = EmulatedDriver.Library;
        return (GpuDevice)Device.Open(name);
    }
}
