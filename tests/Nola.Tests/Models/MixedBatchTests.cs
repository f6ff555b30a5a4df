using FsCheck.Xunit;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Sequences of one batch with different adapters, and prompts that join while others are continued.</summary>
public sealed class MixedBatchTests : IDisposable
{
    private readonly CpuDevice device = new(2);

    public void Dispose() => device.Dispose();

    [Property(MaxTest = 15)]
    public void A_sequence_s_loss_and_gradients_are_those_of_a_batch_with_its_adapter_alone(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        TrainableAdapter[] adapters =
        [
            model.NewAdapter(new NolaOptions { Rank = 2, Bases = 12, Targets = ["*", "wte", "lm_head"] }),
            model.NewAdapter(new LoraOptions { Rank = 3, Targets = ["c_attn", "mlp.*", "wte"], Bias = LoraBias.All }),
            model.NewAdapter(new VeraOptions { Rank = 5, Targets = ["v", "c_fc", "lm_head"] }),
            model.NewAdapter(new FourierFtOptions { Frequencies = 30, Scaling = 50, Targets = ["q", "mlp.c_proj", "lm_head"] }),
            model.NewAdapter(new Ia3Options { Targets = ["k", "v", "c_proj"] }),
            model.NewAdapter(new VbLoraOptions { Rank = 2, Vectors = 9, VectorLength = 8, Targets = ["c_attn", "c_fc"] }),
            model.NewAdapter(new RandLoraOptions { Rank = 7, Alpha = 7, Targets = ["c_attn", "c_proj"] }),
            model.NewAdapter(new LoKrOptions { Rank = 2, Targets = ["v", "c_fc", "lm_head"] }),
            model.NewAdapter(new LoraOptions { Rank = 2, Targets = ["q"], TrainHead = true }),
        ];
        foreach (TrainableAdapter adapter in adapters) TinyModels.Randomize(adapter, r, 0.2);
        EncodedPair[] pairs = TinyModels.Pairs(r, 6, 61);
        TrainableAdapter?[] whose = [.. pairs.Select(_ => adapters.ElementAtOrDefault(r.Next(adapters.Length + 1)))];
        TokenStream stream = TokenStreams.FromPairs(pairs) with { Adapters = whose };
        float[] mixed = Losses(model, stream, 1);
        float[][] gradients = [.. adapters.Select(Gradients)];
        float[] single = [.. pairs.SelectMany((pair, i) => Losses(model, TokenStreams.FromPairs([pair]).With(whose[i]), 0))];
        // Sums of a sequence never depend on its neighbors.
        Assert.Equal(single, mixed);
        for (int a = 0; a < adapters.Length; a++)
        {
            // Those of the adapter's own sequences are added up in one sum; here one after the other.
            for (int i = 0; i < pairs.Length; i++)
                if (whose[i] == adapters[a]) Losses(model, TokenStreams.FromPairs([pairs[i]]).With(whose[i]), 1);
            float[] alone = Gradients(adapters[a]);
            double largest = alone.Length == 0 ? 0 : alone.Max(Math.Abs);
            Assert.All(
                alone.Zip(gradients[a]), pair => Assert.InRange(pair.Second, pair.First - 1e-5 * largest, pair.First + 1e-5 * largest));
        }
        foreach (TrainableAdapter adapter in adapters) adapter.Dispose();
    }

    [Fact]
    public void A_stream_names_an_adapter_for_each_sequence()
    {
        TokenStream stream = new([1, 2, 3], [0, 2, 3], [], []) { Adapters = [null] };
        Assert.Contains("2 sequences and 1 adapters", Assert.Throws<ArgumentException>(() => new StreamTensors(device, stream)).Message);
    }

    [Property(MaxTest = 15)]
    public void Prompts_that_join_later_with_their_own_adapter_and_options_get_what_they_get_alone(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        using TrainableAdapter nola = model.NewAdapter(new NolaOptions { Rank = 2, Bases = 12, Targets = ["*", "wte", "lm_head"] });
        using TrainableAdapter vera = model.NewAdapter(new VeraOptions { Rank = 4, Targets = ["q", "lm_head"] });
        using TrainableAdapter head = model.NewAdapter(new LoraOptions { Rank = 4, Targets = ["v"], TrainHead = true });
        foreach (TrainableAdapter adapter in (TrainableAdapter[])[nola, vera, head]) TinyModels.Randomize(adapter, r);
        (int[] Prompt, GenerateOptions Options, IAdapter? Adapter)[] asked = [.. Enumerable.Range(0, 8).Select(i => (
            TinyModels.Ids(r, 1 + r.Next(9), 61), Options(r) with { FirstSequence = i },
            r.Next(4) switch { 0 => nola, 1 => vera, 2 => head, _ => (IAdapter?)null }))];
        using DecodeLoop loop = new(model, 1 + r.Next(60));
        List<Continuation> given = [];
        // Some are asked for between the steps of others.
        while (given.Count < asked.Length || loop.Open + loop.Waiting > 0)
        {
            while (given.Count < asked.Length && r.Next(2) == 0)
                given.Add(loop.Admit(asked[given.Count].Prompt, asked[given.Count].Options, asked[given.Count].Adapter));
            loop.Step();
        }
        for (int i = 0; i < asked.Length; i++)
        {
            Assert.Equal(model.Generate(asked[i].Prompt, asked[i].Adapter, asked[i].Options), given[i].Tokens);
            Assert.NotNull(given[i].FinishReason);
        }
    }

    [Fact]
    public void One_of_many_is_canceled_and_the_others_go_on()
    {
        using LanguageModel model = TinyModels.Create(device);
        using DecodeLoop loop = new(model);
        GenerateOptions options = new() { MaxNewTokens = 9, StopTokens = [] };
        Continuation first = loop.Admit([1, 2], options), second = loop.Admit([3], options);
        for (int i = 0; i < 3; i++) loop.Step();
        first.Cancel();
        while (loop.Step()) { }
        Assert.Equal((3, FinishReason.Canceled), (first.Tokens.Count, first.FinishReason!.Value));
        Assert.Equal(FinishReason.Length, second.FinishReason);
        Assert.Equal(model.Generate([3], null, options), second.Tokens);
        Assert.Equal(model.Generate([1, 2], null, options)[..3], first.Tokens);
    }

    [Property(MaxTest = 10)]
    public void Log_probabilities_are_those_of_the_model(int seed)
    {
        Random r = new(seed);
        using LanguageModel model = TinyModels.Create(device);
        int[] prompt = TinyModels.Ids(r, 5, 61);
        using DecodeLoop loop = new(model);
        Continuation[] all =
        [
            loop.Admit(prompt, new() { MaxNewTokens = 6, StopTokens = [] }),
            loop.Admit(prompt, new() { MaxNewTokens = 6, StopTokens = [], Temperature = 2, Seed = (ulong)r.Next() }),
            loop.Admit(prompt, new() { MaxNewTokens = 6, StopTokens = [], TopK = 7, Seed = (ulong)r.Next() }),
            loop.Admit(prompt, new() { MaxNewTokens = 6, StopTokens = [], Beams = 3 }),
            loop.Admit(prompt, new() { MaxNewTokens = 6, StopTokens = [], Beams = 3, BeamRules = BeamRules.HuggingFace }),
        ];
        while (loop.Step()) { }
        foreach (Continuation text in all)
        {
            float[] logits = model.Logits([.. prompt, .. text.Tokens]);
            for (int i = 0; i < text.Tokens.Count; i++)
            {
                ReadOnlySpan<float> row = logits.AsSpan((prompt.Length + i - 1) * 61, 61);
                double sum = 0;
                foreach (float value in row) sum += Math.Exp(value - row[0]);
                // Float32 logits of about 1, summed in another order with a cache.
                Assert.Equal(row[text.Tokens[i]] - row[0] - Math.Log(sum), text.LogProbabilities[i], 2e-5);
            }
        }
    }

    [Fact]
    public async Task Pieces_are_the_text_and_stop_strings_end_it()
    {
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        GenerateOptions options = new() { MaxNewTokens = 20, StopTokens = [] };
        string whole = model.Generate("name : Blue Spice | food : Indian", options: options);
        Assert.Equal(whole, string.Concat(await Pieces(options)));
        // Inside the text, across tokens.
        string stop = whole[(whole.Length / 3)..(whole.Length / 3 + 9)];
        string cut = whole[..whole.IndexOf(stop, StringComparison.Ordinal)];
        GenerateOptions stopped = options with { StopStrings = [stop] };
        Assert.Equal(cut, model.Generate("name : Blue Spice | food : Indian", options: stopped));
        Assert.Equal(cut, string.Concat(await Pieces(stopped)));
        using DecodeLoop loop = new(model);
        Continuation text = loop.Admit(model.Tokenizer.EncodeContext("name : Blue Spice | food : Indian"), stopped);
        while (loop.Step()) { }
        Assert.Equal(FinishReason.Stop, text.FinishReason);
        Assert.True(text.Tokens.Count < 20);

        async Task<List<string>> Pieces(GenerateOptions how)
        {
            List<string> pieces = [];
            await foreach (string piece in model.GenerateAsync("name : Blue Spice | food : Indian", options: how)) pieces.Add(piece);
            return pieces;
        }
    }

    [Fact]
    public async Task A_stream_that_is_left_or_canceled_frees_the_model()
    {
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        GenerateOptions options = new() { MaxNewTokens = 200, StopTokens = [] };
        string whole = model.Generate("name : Blue Spice", options: options with { MaxNewTokens = 5 });
        await foreach (string _ in model.GenerateAsync("name : Blue Spice", options: options)) break;
        using CancellationTokenSource stop = new();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (string _ in model.GenerateAsync("name : Blue Spice", options: options, cancel: stop.Token))
                await stop.CancelAsync();
        });
        Assert.Equal(whole, model.Generate("name : Blue Spice", options: options with { MaxNewTokens = 5 }));
    }

    private float[] Losses(LanguageModel model, TokenStream stream, float scale)
    {
        using StreamTensors batch = new(device, stream);
        using Tape tape = new(device);
        using Tensor losses = device.Empty([stream.Targets.Length]);
        Variable loss = model.Loss(tape, batch, 0, scale, losses);
        if (scale > 0 && stream.Adapters.Any(adapter => adapter is not null)) tape.Backward(loss);
        return losses.ToArray();
    }

    private static float[] Gradients(TrainableAdapter adapter)
    {
        adapter.CollectGradients();
        float[] all = [.. adapter.Parameters.Where(p => p.HasGradient).SelectMany(p => p.Gradient.ToArray())];
        foreach (Parameter p in adapter.Parameters) p.ClearGradient();
        adapter.Update();
        return all;
    }

    private static GenerateOptions Options(Random r) => r.Next(5) switch
    {
        0 => new()
        {
            MaxNewTokens = 1 + r.Next(8),
            StopTokens = [3, 9],
            Beams = 3,
            BeamRules = BeamRules.HuggingFace,
            RepetitionPenalty = 1.3f,
        },
        1 => new() { MaxNewTokens = 1 + r.Next(8), StopTokens = [4], Beams = 2, NoRepeatNgram = 2 },
        2 => new() { MaxNewTokens = 1 + r.Next(8), StopTokens = [], Temperature = 1.3f, TopP = 0.9f, Seed = (ulong)r.Next() },
        3 => new() { MaxNewTokens = 1 + r.Next(8), StopTokens = [5], TopK = 1 + r.Next(9), Seed = (ulong)r.Next(), MinNewTokens = 1 },
        _ => new() { MaxNewTokens = 1 + r.Next(8), StopTokens = [3], RepetitionPenalty = 1.7f },
    };
}
