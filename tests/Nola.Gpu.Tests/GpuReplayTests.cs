using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Repeated calls, recorded once and launched as one: on a real card by its driver, simulated by taking the kernels.</summary>
public sealed class GpuReplayTests : IDisposable
{
    private readonly GpuDevice gpu = TestGpu.Open();

    public void Dispose() => gpu.Dispose();

    [Fact]
    public void A_replay_computes_from_what_its_tensors_hold_by_then()
    {
        TapRecorder recorder = new(gpu);
        gpu.RecordWith(recorder);
        Assert.Equal("graphs for repeated calls", gpu.Graphs);
        using Replay replay = gpu.NewReplay();
        using Tensor x = gpu.Empty([300]), y = gpu.Empty([300]);
        long queued = 0;
        for (int i = 1; i <= 4; i++)
        {
            gpu.Upload([.. Enumerable.Range(0, 300).Select(j => (float)(i * j))], x);
            queued = gpu.Launches;
            replay.Run(Calls);
            Assert.Equal([.. Enumerable.Range(0, 300).Select(j => 4f * i * j)], y.ToArray());
        }
        // Once as they are, then recorded and launched three times.
        Assert.Equal(3, recorder.Graphs[^1].Launches);
        Assert.Equal(queued, gpu.Launches);

        void Calls()
        {
            using Tensor twice = gpu.Empty([300]);
            gpu.Add(x, x, twice);
            gpu.Add(twice, twice, y);
        }
    }

    [Fact]
    public void Memory_of_a_recording_is_given_to_nobody_else_and_comes_back_at_the_end()
    {
        gpu.RecordWith(new TapRecorder(gpu));
        gpu.Pool.Trim();
        (long, long) before = (gpu.Pool.LiveBytes, gpu.ReservedBytes);
        using Tensor x = gpu.From([.. Enumerable.Range(0, 300).Select(j => (float)j)], [300]), y = gpu.Empty([300]);
        Replay replay = gpu.NewReplay();
        for (int i = 0; i < 2; i++) replay.Run(Calls);
        // As much as there can be of the sizes that the recording used.
        Tensor[] others = [.. Enumerable.Range(0, 20).Select(i => gpu.Empty([i % 2 == 0 ? 300 : 900]))];
        foreach (Tensor other in others) gpu.Fill(other, 7);
        gpu.Pool.Trim();
        replay.Run(Calls);
        Assert.All(others, other => Assert.All(other.ToArray(), value => Assert.Equal(7, value)));
        Assert.Equal([.. Enumerable.Range(0, 300).Select(j => 4f * j)], y.ToArray());
        replay.Dispose();
        foreach (Tensor other in others) other.Dispose();
        x.Dispose();
        y.Dispose();
        gpu.Pool.Trim();
        Assert.Equal(before, (gpu.Pool.LiveBytes, gpu.ReservedBytes));

        void Calls()
        {
            using Tensor twice = gpu.Empty([300]), wide = gpu.Empty([900]);
            gpu.Fill(wide, 1);
            gpu.Add(x, x, twice);
            gpu.Add(twice, twice, y);
        }
    }

    [Fact]
    public void A_driver_that_loses_a_kernel_fails_the_check_and_calls_go_on_one_by_one()
    {
        gpu.RecordWith(new TapRecorder(gpu) { LosesOne = true });
        Assert.Contains("no graphs: element 1003 is", gpu.Graphs);
        Repeats();
    }

    [Fact]
    public void A_recording_that_fails_later_is_replaced_by_the_calls_and_said()
    {
        gpu.RecordWith(new TapRecorder(gpu) { FailsFrom = 1 });
        Assert.Equal("graphs for repeated calls", gpu.Graphs);
        Repeats();
        Assert.Equal("no graphs: cuStreamEndCapture: error 901", gpu.Graphs);
    }

    [Fact]
    public void Uploads_and_waits_cannot_be_recorded()
    {
        gpu.RecordWith(new TapRecorder(gpu));
        using Replay replay = gpu.NewReplay();
        float read = 0;
        for (int i = 0; i < 2; i++)
        {
            replay.Run(() =>
            {
                using Tensor x = gpu.From([1f, 2], [2]);
                read += x.ToArray()[1];
            });
        }
        Assert.Equal(4, read);
        Assert.Contains("An upload cannot be recorded", gpu.Graphs);
    }

    [Fact]
    public void A_device_without_a_driver_makes_the_calls_each_time()
    {
        if (TestGpu.Name is null) Assert.Equal("no graphs: not a CUDA device", gpu.Graphs);
        else Assert.Equal("graphs for repeated calls", gpu.Graphs);
        Repeats();
        using CpuDevice cpu = new(1);
        using Replay replay = cpu.NewReplay();
        int calls = 0;
        for (int i = 0; i < 3; i++) replay.Run(() => calls++);
        Assert.Equal(3, calls);
    }

    private void Repeats()
    {
        using Replay replay = gpu.NewReplay();
        using Tensor x = gpu.From([1f], []);
        for (int i = 0; i < 3; i++) replay.Run(() => gpu.Add(x, x, x));
        Assert.Equal(8, x.Item());
    }
}
