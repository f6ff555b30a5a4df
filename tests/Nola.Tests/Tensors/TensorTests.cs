using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

public sealed class TensorTests
{
    [Fact]
    public void A_shape_reads_from_both_ends_and_prints()
    {
        Shape shape = [8, 512, 768];
        Assert.Equal((8, 768, 3, 8 * 512 * 768, 4096), (shape[0], shape[^1], shape.Rank, shape.Length, shape.Rows));
        Assert.Equal("(8, 512, 768)", shape.ToString());
        Assert.True(shape == [8, 512, 768] && shape != [8, 512]);
        Shape scalar = [];
        Assert.Equal((0, 1), (scalar.Rank, scalar.Length));
    }

    [Fact]
    public void A_shape_that_cannot_be_is_refused()
    {
        Assert.Contains("at most 4", Assert.Throws<ShapeException>(() => { Shape _ = [1, 2, 3, 4, 5]; }).Message);
        Assert.Contains("negative", Assert.Throws<ShapeException>(() => { Shape _ = [2, -1]; }).Message);
        Assert.Contains("more than", Assert.Throws<ShapeException>(() => { Shape _ = [65536, 65536]; }).Message);
    }

    [Property]
    public void BFloat16_is_the_nearest_and_exact_on_its_own_values(float x)
    {
        float rounded = DTypes.FromBFloat16(DTypes.ToBFloat16(x));
        if (float.IsNaN(x))
        {
            Assert.True(float.IsNaN(rounded));
            return;
        }
        Assert.Equal(rounded, DTypes.FromBFloat16(DTypes.ToBFloat16(rounded)));
        if (float.IsFinite(rounded)) Assert.True(Math.Abs((double)rounded - x) <= Math.Abs((double)x) / 256 + 1e-40);     // half of 2^-7
    }

    [Fact]
    public void Memory_comes_back_and_is_used_again()
    {
        using CpuDevice device = new(1);
        for (int step = 0; step < 5; step++)
        {
            using Tensor a = device.Empty([1000 + step, 3]), b = device.Empty([7]);
            Assert.Equal(2, device.Pool.LiveCount);
        }
        Assert.Equal((0L, 0), (device.Pool.LiveBytes, device.Pool.LiveCount));
        Assert.Equal(2, device.Pool.FreshAllocations);
        Assert.True(device.Pool.PeakBytes >= 12000);
    }

    [Fact]
    public void A_tensor_that_outlives_its_device_gives_its_memory_back()
    {
        CpuDevice device = new(1);
        Tensor late = device.Empty([1000]);
        device.Empty([50]).Dispose();
        MemoryPool pool = device.Pool;
        device.Dispose();
        late.Dispose();
        Assert.Equal((0L, 0L), (pool.LiveBytes, pool.PooledBytes));
        // A device that was never used has no pool to close.
        new CpuDevice(1).Dispose();
    }

    [Fact]
    public void A_tensor_too_large_for_the_machine_gives_a_sentence()
    {
        using CpuDevice device = new(1);
        List<Tensor> held = [];
        // Each is 4 GiB that the system would promise; the limit is what the runtime knows that the machine has.
        NolaException error = Assert.Throws<NolaException>(() => { for (int i = 0; i < 1000; i++) held.Add(device.Empty([1 << 30])); });
        Assert.Contains("Out of memory on cpu: wanted 4096.0 MiB", error.Message);
        Assert.Contains("Lower the number of tokens in a batch", error.Message);
        Assert.Equal(["BatchTokens"], error.Options);
        foreach (Tensor tensor in held) tensor.Dispose();
    }

    [Fact]
    public void A_disposed_tensor_says_so()
    {
        using CpuDevice device = new(1);
        Tensor tensor = device.Zeros([3]);
        tensor.Dispose();
        tensor.Dispose();
        Assert.Contains("was disposed", Assert.Throws<ObjectDisposedException>(tensor.ToArray).Message);
    }

    [Theory]
    [InlineData("cuda")]
    [InlineData("tpu")]
    public void A_device_that_is_not_there_says_what_to_use(string name) =>
        Assert.Contains("auto", Assert.Throws<NolaException>(() => Device.Open(name)).Message);

    [Fact]
    public void The_team_runs_every_piece_once_and_brings_errors_back()
    {
        using ThreadTeam team = new(4);
        for (int repeat = 0; repeat < 200; repeat++)
        {
            int[] seen = new int[1001];
            team.For(seen.Length, 7, (start, end) => { for (int i = start; i < end; i++) Interlocked.Increment(ref seen[i]); });
            Assert.All(seen, count => Assert.Equal(1, count));
        }
        InvalidOperationException error = Assert.Throws<InvalidOperationException>(() => team.For(10, 1, (i, _) =>
        {
            if (i == 5) throw new InvalidOperationException("piece 5");
        }));
        Assert.Equal("piece 5", error.Message);
        team.For(3, 1, (_, _) => { });
    }

    [Fact]
    public void A_second_thread_that_drives_a_device_is_told_so()
    {
        using CpuDevice device = new(2);
        using ManualResetEventSlim inside = new(), tried = new();
        Exception? first = null;
        Thread one = new(() =>
        {
            try
            {
                device.Team.For(2, 1, (_, _) =>
                {
                    inside.Set();
                    tried.Wait();
                });
            }
            catch (Exception error)
            {
                first = error;
            }
        });
        one.Start();
        inside.Wait();
        InvalidOperationException refused = Assert.Throws<InvalidOperationException>(() => device.Team.For(2, 1, (_, _) => { }));
        tried.Set();
        one.Join();
        Assert.Contains("one thread at a time drives a device", refused.Message);
        // The first is not disturbed, and the device can be used afterwards.
        Assert.Null(first);
        int sum = 0;
        device.Team.For(10, 1, (start, _) => Interlocked.Add(ref sum, start));
        Assert.Equal(45, sum);
    }
}
