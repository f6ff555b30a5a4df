using System.Reflection;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Decoding token by token: what is queued for one token serves for the next.</summary>
public sealed class GpuDecodeTests : IDisposable
{
    private readonly GpuDevice gpu = TestGpu.Open();

    public void Dispose() => gpu.Dispose();

    [Theory]
    [InlineData(1, false, true)]
    [InlineData(3, true, true)]
    [InlineData(3, true, false)]
    public void Replayed_tokens_are_the_CPUs(int beams, bool rules, bool taken)
    {
        using CpuDevice cpu = new(2);
        GenerateOptions options = new()
        {
            Beams = beams,
            MaxNewTokens = 8,
            StopTokens = [],
            NoRepeatNgram = rules ? 2 : 0,
            RepetitionPenalty = rules ? 1.3f : 1,
            MinNewTokens = 3,
        };
        long waits = 0;
        TapRecorder recorder = new(gpu);
        // Without it the driver records, on a card; simulated, the calls are made each time, in the same padded shapes.
        if (taken) gpu.RecordWith(recorder);
        int[] wanted = Generate(cpu);
        long live = gpu.Pool.LiveBytes;
        int[] got = Generate(gpu);
        Assert.Equal(wanted, got);
        Assert.Equal(8, got.Length);
        Assert.Equal(live, gpu.Pool.LiveBytes);
        if (!taken) return;
        // The first graph is the check's; the prompt is read as it is, the first token after it too, and beams are one sequence at first.
        Assert.Equal(7 - 1, recorder.Graphs.Skip(1).Sum(g => g.Launches));
        Assert.All(recorder.Graphs, graph => Assert.True(graph.IsDisposed));
        // One for each token, and one before a graph is given back.
        Assert.Equal(8 + recorder.Graphs.Count - 1, waits);

        int[] Generate(Device device)
        {
            using LanguageModel model = TinyModels.Create(device, layers: 1);
            long before = gpu.Waits;
            int[] tokens = model.Generate([1, 2, 3], null, options);
            waits = gpu.Waits - before;
            return tokens;
        }
    }

    [Fact]
    public void Two_tokens_queue_the_same_kernels_in_the_same_blocks_with_the_same_arguments()
    {
        TapRecorder recorder = new(gpu);
        gpu.RecordWith(recorder);
        using LanguageModel model = TinyModels.Create(gpu, layers: 1);
        using KvCache cache = new(model, 3, 40);
        using StreamTensors batch = new(gpu, 4, null);
        using KvCache.Places places = new(gpu.Empty([256], DType.Int32), gpu.Empty([5], DType.Int32));
        using Tensor logits = gpu.Empty([4, 61]);
        model.Decode(new TokenStream([1, 2, 3, 4], [0, 2, 3, 4], [], []), cache);
        // Each recording gives its memory back, so the next finds it where it was.
        string[][] queued = [.. Enumerable.Range(5, 2).Select(Recorded)];
        Assert.True(queued[0].Length > 8);
        Assert.Equal(queued[0], queued[1]);

        string[] Recorded(int token)
        {
            int[] past = cache.Lengths.ToArray();
            (int[] rows, int[] starts) = cache.Extend(new TokenStream([token, token, token], [0, 1, 2, 3], [], []));
            gpu.Upload([token, token, token, 0], batch.Ids);
            gpu.Upload([.. past, 0], batch.Positions);
            gpu.Upload([0, 1, 2, 3, 3], batch.Starts);
            gpu.Upload([.. rows, .. new int[256 - rows.Length]], places.Rows);
            gpu.Upload([.. starts, starts[^1]], places.RowStarts);
            using Replay replay = gpu.NewReplay();
            for (int i = 0; i < 2; i++) replay.Run(() => model.Decode(batch, cache, places, logits));
            return [.. recorder.Graphs[^1].Kernels.Select(k =>
                $"{k.Kernel.DeclaringType!.Name}.{k.Kernel.Name} {Describe(k.Config)} {string.Join(" ", k.Arguments.Select(Describe))}")];
        }
    }

    [Fact]
    public void When_the_cache_grows_what_was_recorded_is_dropped()
    {
        TapRecorder recorder = new(gpu);
        gpu.RecordWith(recorder);
        using CpuDevice cpu = new(2);
        using LanguageModel model = TinyModels.Create(gpu, layers: 1), reference = TinyModels.Create(cpu, layers: 1);
        // Room for four tokens, then six, then nine.
        using KvCache cache = new(model, 1, 40, 4), wanted = new(reference, 1, 40);
        using DecodePass pass = new(model, cache);
        model.Decode(new TokenStream([1], [0, 1], [], []), cache);
        reference.Decode(new TokenStream([1], [0, 1], [], []), wanted);
        for (int token = 2; token <= 8; token++)
        {
            TokenStream next = new([token], [0, 1], [], []);
            float[] got = pass.Run(next).ToArray(), expected = reference.Decode(next, wanted);
            OpCheck.Close(OpCheck.Wide(expected), got, 1e-5);       // sums of two orders in float32
        }
        Assert.Equal((9, 3), (cache.Store, recorder.Graphs.Count - 1));
        Assert.Equal([true, true, true, false], recorder.Graphs.Select(g => g.IsDisposed));
    }

    [Fact]
    public void Shapes_are_few()
    {
        Assert.Equal([1, 2, 4, 4, 8, 16, 16, 32, 128], ((int[])[1, 2, 3, 4, 5, 10, 16, 17, 128]).Select(DecodePass.SequencesOf));
        Assert.Equal([256, 256, 512, 131072], ((int[])[1, 256, 257, 131072]).Select(DecodePass.RowsOf));
        // A prompt of 64 and ten beams of 64 tokens: every step of a search has one of these.
        IEnumerable<int> rows = Enumerable.Range(1, 64)
            .SelectMany(t => Enumerable.Range(1, 10).Select(s => DecodePass.RowsOf(s * (64 + t))));
        Assert.Equal([256, 512, 1024, 2048], rows.Distinct().Order());
    }

    // Structures field by field: a view is its buffer, its offset and its length.
    private static string Describe(object argument)
    {
        if (argument.GetType().IsPrimitive) return FormattableString.Invariant($"{argument}");
        const BindingFlags Fields = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;
        IEnumerable<string> fields = argument.GetType().GetFields(Fields).Select(f => f.GetValue(argument) switch
        {
            null => "null",
            { } value when value.GetType().IsValueType => Describe(value),
            { } reference => System.Runtime.CompilerServices.RuntimeHelpers.GetHashCode(reference).ToString(),
        });
        return $"{argument.GetType().Name}({string.Join(",", fields)})";
    }
}
