using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Requests of many callers that are continued in one batch.</summary>
public sealed class SchedulerTests : IDisposable
{
    private readonly ServingCase place = new();

    public void Dispose() => place.Dispose();

    [Property(MaxTest = 15)]
    public void Requests_that_come_go_and_are_canceled_get_what_each_gets_alone(int seed)
    {
        Random r = new(seed);
        string[] files = place.WriteMany(r);
        // Mostly too little memory for all at once.
        using AdapterPool pool = new(place.Model, new() { MixedMemory = r.Next(60_000) });
        PooledAdapter[] adapters = [.. files.Select(file => pool.Add(file, file))];
        int running = 1 + r.Next(9);
        SchedulerOptions options = new()
        {
            MaxRunning = running,
            BatchTokens = running + r.Next(40),
            PromptChunk = 1 + r.Next(30),
            CacheBytes = r.Next(3) == 0 ? 0 : 1 << 20,
            PrefixCacheBytes = r.Next(3) switch { 0 => 0, 1 => 20_000, _ => 1 << 20 },
        };
        int[] shared = TinyModels.Ids(r, 12, 61);
        (int[] Prompt, string? File, PooledAdapter? Adapter, GenerateOptions Options)[] asked = [.. Enumerable.Range(0, 18).Select(i =>
        {
            int[] prompt = [.. shared[..r.Next(12)], .. TinyModels.Ids(r, 1 + r.Next(9), 61)];
            PooledAdapter? adapter = r.Next(adapters.Length + 1) is var which and > 0 ? adapters[which - 1] : null;
            return (prompt, adapter?.Path, adapter, Options(r) with { FirstSequence = i });
        })];
        int[] canceledAfter = [.. asked.Select(_ => r.Next(4) == 0 ? r.Next(4) : int.MaxValue)];
        int[][] answers = Answers().GetAwaiter().GetResult();
        for (int i = 0; i < asked.Length; i++)
        {
            int[] alone = place.Alone(asked[i].Prompt, asked[i].File, asked[i].Options);
            if (canceledAfter[i] < alone.Length) Assert.Equal(alone[..canceledAfter[i]], answers[i]);
            else Assert.Equal(alone, answers[i]);
        }
        Assert.Equal(0, pool.Adapters.Sum(adapter => adapter.Held.Uses));

        async Task<int[][]> Answers()
        {
            await using Scheduler scheduler = new(place.Model, pool, options);
            List<Task<int[]>> all = [];
            for (int i = 0; i < asked.Length; i++)
            {
                GenerateRequest request = new() { Prompt = asked[i].Prompt, Adapter = asked[i].Adapter, Options = asked[i].Options };
                all.Add(Ask(scheduler, request, canceledAfter[i]));
                if (r.Next(3) == 0) await Task.Delay(1);
            }
            int[][] results = await Task.WhenAll(all);
            await scheduler.DrainAsync();
            Assert.Equal((0, 0), (scheduler.Statistics.Waiting, scheduler.Statistics.Running));
            return results;
        }
    }

    [Property(MaxTest = 15)]
    public void Probabilities_of_prompt_and_text_are_the_model_s_and_a_token_has_the_same_number_among_the_likeliest(int seed)
    {
        Random r = new(seed);
        int[] prompt = TinyModels.Ids(r, 1 + r.Next(14), 61);
        GenerateOptions options = r.Next(2) == 0
            ? new() { MaxNewTokens = r.Next(6), StopTokens = [] }
            : new() { MaxNewTokens = r.Next(6), StopTokens = [], Temperature = 1.5f, Seed = 5 };
        List<GeneratedToken> tokens = Run(new() { PromptChunk = 1 + r.Next(6) }, async scheduler =>
        {
            // What was read before is read again for its probabilities.
            await Collect(scheduler, new() { Prompt = prompt, Options = options });
            return await Collect(
                scheduler, new() { Prompt = prompt, Options = options, PromptLogProbabilities = true, TopLogProbabilities = 3 });
        });
        GeneratedToken[] given = [.. tokens.Where(token => token.Id >= 0)];
        int[] ids = [.. given.Select(token => token.Id)];
        Assert.Equal([.. prompt, .. place.Alone(prompt, null, options)], ids);
        Assert.Equal(ids.Select((_, i) => i < prompt.Length), given.Select(token => token.IsPrompt));
        Assert.Null(given[0].LogProbability);
        Assert.Equal(FinishReason.Length, tokens[^1].FinishReason);
        Assert.All(tokens.SkipLast(1), token => Assert.Null(token.FinishReason));
        float[] logits = place.Reference.Logits(ids[..Math.Min(ids.Length, 40)]);
        for (int i = 1; i < ids.Length; i++)
        {
            float[] row = logits[((i - 1) * 61)..(i * 61)];
            double sum = Math.Log(row.Sum(value => Math.Exp(value)));
            // Float32 logits of about 1, summed in another order with a cache.
            Assert.Equal(row[ids[i]] - sum, given[i].LogProbability!.Value, 2e-5);
            IReadOnlyList<TokenLogProbability> top = given[i].TopLogProbabilities;
            Assert.Equal(3, top.Count);
            Assert.Equal(row.Max() - sum, top[0].LogProbability, 2e-5);
            Assert.True(top[0].LogProbability >= top[1].LogProbability && top[1].LogProbability >= top[2].LogProbability);
            foreach (TokenLogProbability one in top.Where(one => one.Id == ids[i]))
                Assert.Equal(given[i].LogProbability!.Value, one.LogProbability);
        }
    }

    [Fact]
    public void Samples_are_those_of_the_sequences_of_one_call()
    {
        GenerateOptions options = new() { MaxNewTokens = 7, StopTokens = [4], Temperature = 1.4f, Seed = 11, FirstSequence = 20 };
        int[] prompt = [3, 1, 4, 1, 5];
        int[][] wanted = place.Reference.GenerateAll([prompt], null, options with { NumSamples = 5 });
        foreach (int cache in (int[])[0, 1 << 20])
        {
            List<GeneratedToken> tokens = Run(
                new() { PrefixCacheBytes = cache, MaxRunning = 3 },
                scheduler => Collect(scheduler, new() { Prompt = prompt, Options = options, Samples = 5 }));
            for (int s = 0; s < 5; s++)
            {
                GeneratedToken[] own = [.. tokens.Where(token => token.Sample == s)];
                Assert.Equal(wanted[s], own.Select(token => token.Id));
                Assert.NotNull(own[^1].FinishReason);
                Assert.Equal(s == 0 || cache == 0 ? 0 : prompt.Length - 1, own[0].CachedTokens);
            }
        }
        List<GeneratedToken> greedy = Run(new(), scheduler =>
            Collect(scheduler, new() { Prompt = prompt, Samples = 2, Options = new() { MaxNewTokens = 3, StopTokens = [] } }));
        Assert.Equal(greedy.Where(t => t.Sample == 0).Select(t => t.Id), greedy.Where(t => t.Sample == 1).Select(t => t.Id));
    }

    [Fact]
    public void What_was_read_before_is_not_read_again_and_another_file_under_the_name_is_never_answered_by_it()
    {
        NolaOptions form = new() { Rank = 2, Bases = 8, Targets = ["*"] };
        string first = place.Write(form, 1), second = place.Write(form, 2);
        int[] prompt = TinyModels.Ids(new Random(3), 15, 61);
        GenerateOptions options = new() { MaxNewTokens = 8, StopTokens = [], RepetitionPenalty = 2 };
        int[] ofFirst = place.Alone(prompt, first, options), ofSecond = place.Alone(prompt, second, options);
        Assert.NotEqual(ofFirst, ofSecond);
        using AdapterPool pool = new(place.Model);
        pool.Add("task", first);
        Run(pool, new(), async scheduler =>
        {
            await Answers(ofFirst, 0);
            await Answers(ofFirst, 14);
            pool.Add("task", second);
            await Answers(ofSecond, 0);
            pool.Add("task", first);
            await Answers(ofFirst, 14);
            // And what went on from it.
            int[] longer = [.. prompt, .. ofFirst, 9];
            pool.TryGet("task", out PooledAdapter? adapter);
            List<GeneratedToken> tokens = await Collect(scheduler, new() { Prompt = longer, Adapter = adapter, Options = options });
            Assert.Equal(place.Alone(longer, first, options), tokens.Select(token => token.Id));
            Assert.Equal(longer.Length - 2, tokens[0].CachedTokens);
            Assert.InRange(scheduler.Statistics.PrefixBytes, 1, scheduler.Statistics.CacheBytes);
            return 0;

            async Task Answers(int[] wanted, int known)
            {
                pool.TryGet("task", out PooledAdapter? adapter);
                List<GeneratedToken> tokens = await Collect(scheduler, new() { Prompt = prompt, Adapter = adapter, Options = options });
                Assert.Equal(wanted, tokens.Select(token => token.Id));
                Assert.All(tokens, token => Assert.Equal(known, token.CachedTokens));
            }
        });
    }

    [Fact]
    public void Too_many_requests_are_refused_with_the_time_to_try_again()
    {
        Run(new() { MaxRunning = 1, MaxQueue = 3 }, async scheduler =>
        {
            List<IAsyncEnumerable<GeneratedToken>> all = [];
            GenerateRequest request = new() { Prompt = [1, 2], Options = new() { MaxNewTokens = 3, StopTokens = [] } };
            // The scheduler cannot begin meanwhile.
            lock (scheduler.Gate)
            {
                for (int i = 0; i < 3; i++) all.Add(scheduler.GenerateAsync(request));
                Assert.Equal(3, scheduler.Statistics.Waiting);
                SchedulerFullException full = Assert.Throws<SchedulerFullException>(() => scheduler.GenerateAsync(request));
                Assert.InRange(full.RetryAfter, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(1));
                Assert.Contains("3 requests are waiting", full.Message);
            }
            foreach (IAsyncEnumerable<GeneratedToken> tokens in all)
                Assert.Equal(place.Alone([1, 2], null, request.Options), await tokens.Select(token => token.Id).ToArrayAsync());
            await scheduler.DrainAsync();
            Assert.Equal((3L, 3L, 1L), (scheduler.Statistics.Requests, scheduler.Statistics.Completed, scheduler.Statistics.Refused));
            return 0;
        });
    }

    [Fact]
    public void A_request_that_is_left_or_canceled_ends_and_its_place_is_free()
    {
        GenerateOptions many = new() { MaxNewTokens = 30, StopTokens = [] };
        // Few steps at a time, so that none of these requests ends by itself before somebody ends it.
        using SemaphoreSlim steps = new(0);
        Run(new() { MaxRunning = 2 }, async scheduler =>
        {
            scheduler.BeforeStep = steps.Wait;
            Task<List<GeneratedToken>> other = Collect(scheduler, new() { Prompt = [5, 6], Options = many });
            IAsyncEnumerable<GeneratedToken> left = scheduler.GenerateAsync(new() { Prompt = [1], Options = many });
            steps.Release(3);
            await foreach (GeneratedToken _ in left) break;
            using CancellationTokenSource stop = new();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
            {
                IAsyncEnumerable<GeneratedToken> canceled = scheduler.GenerateAsync(new() { Prompt = [1], Options = many }, stop.Token);
                steps.Release(3);
                await foreach (GeneratedToken _ in canceled) await stop.CancelAsync();
            });
            steps.Release(1000);
            using CancellationTokenSource before = new();
            await before.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(
                () => Collect(scheduler, new() { Prompt = [1], Options = many }, before.Token));
            Assert.Equal(place.Alone([5, 6], null, many), (await other).Select(token => token.Id));
            await scheduler.DrainAsync();
            Assert.Equal((1L, 3L, 0L), (scheduler.Statistics.Completed, scheduler.Statistics.Canceled, scheduler.Statistics.Failed));
            return 0;
        });
    }

    [Fact]
    public void An_adapter_whose_values_are_no_use_fails_its_own_requests_alone()
    {
        NolaOptions form = new() { Rank = 2, Bases = 8, Targets = ["*"] };
        using AdapterPool pool = new(place.Model);
        PooledAdapter broken = pool.Add("broken", place.Write(form, 1, "broken", 1e38));
        PooledAdapter good = pool.Add("good", place.Write(form, 2, "good"));
        GenerateOptions options = new() { MaxNewTokens = 12, StopTokens = [] };
        Run(pool, new(), async scheduler =>
        {
            Task<List<GeneratedToken>>[] all =
            [
                Collect(scheduler, new() { Prompt = [1, 2, 3], Adapter = good, Options = options }),
                Collect(scheduler, new() { Prompt = [1, 2, 3], Adapter = broken, Options = options }),
                Collect(scheduler, new() { Prompt = [1, 2, 3], Options = options }),
            ];
            Assert.Contains("not numbers", (await Assert.ThrowsAsync<GenerationFailedException>(() => all[1])).Message);
            Assert.Equal(place.Alone([1, 2, 3], good.Path, options), (await all[0]).Select(token => token.Id));
            Assert.Equal(place.Alone([1, 2, 3], null, options), (await all[2]).Select(token => token.Id));
            Assert.Equal(1, scheduler.Statistics.Failed);
            return 0;
        });
    }

    [Fact]
    public async Task A_scheduler_that_is_disposed_answers_what_it_accepted_and_takes_nothing_more()
    {
        Scheduler scheduler = new(place.Model);
        GenerateOptions options = new() { MaxNewTokens = 25, StopTokens = [] };
        Task<List<GeneratedToken>>[] all =
            [.. Enumerable.Range(1, 5).Select(i => Collect(scheduler, new() { Prompt = [i], Options = options }))];
        ValueTask end = scheduler.DisposeAsync();
        Assert.True(scheduler.IsDraining);
        Assert.Throws<ObjectDisposedException>(() => scheduler.GenerateAsync(new() { Prompt = [1] }));
        await end;
        for (int i = 0; i < all.Length; i++)
            Assert.Equal(place.Alone([i + 1], null, options), (await all[i]).Select(token => token.Id));
        // The device is free.
        Assert.Equal(place.Reference.Generate([1], null, options), place.Model.Generate([1], null, options));
    }

    [Fact]
    public void Requests_that_cannot_be_answered_are_refused_by_the_call()
    {
        using AdapterPool pool = new(place.Model), foreign = new(place.Model);
        PooledAdapter other = foreign.Add("x", place.Write(new NolaOptions { Bases = 8 }, 1));
        Run(pool, new(), scheduler =>
        {
            Refused("is empty", new() { Prompt = [] });
            Refused("token id 61", new() { Prompt = [61] });
            Refused("41 tokens; this model reads at most 40", new() { Prompt = new int[41] });
            Refused("beams is 2", new() { Prompt = [1], Options = new() { Beams = 2 } });
            Refused("num-samples is 2", new() { Prompt = [1], Options = new() { NumSamples = 2 } });
            Refused("number of samples is 0", new() { Prompt = [1], Samples = 0 });
            Refused("log-probabilities is 21", new() { Prompt = [1], TopLogProbabilities = 21 });
            Refused("logit-bias is 61", new() { Prompt = [1], Options = new() { LogitBias = new Dictionary<int, float> { [61] = 1 } } });
            Refused("temperature is NaN", new() { Prompt = [1], Options = new() { Temperature = float.NaN } });
            Refused("vocabulary is 61", new() { Prompt = [1], Options = new() { StopStrings = ["x"] } });
            Assert.Throws<ArgumentException>(() => scheduler.GenerateAsync(new() { Prompt = [1], Adapter = other }));
            return Task.FromResult(0);

            void Refused(string why, GenerateRequest request) =>
                Assert.Contains(why, Assert.Throws<NolaException>(() => scheduler.GenerateAsync(request)).Message);
        });
    }

    [Fact]
    public async Task Pieces_of_text_are_the_text_and_end_before_a_stop_string()
    {
        using CpuDevice device = new(2), other = new(1);
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        using LanguageModel reference = LanguageModel.Load(LanguageModel.EmbeddedName, other);
        const string Context = "name : Blue Spice | food : Indian";
        GenerateOptions options = new() { MaxNewTokens = 20, StopTokens = [] };
        string whole = reference.Generate(Context, options: options);
        string stop = whole[(whole.Length / 3)..(whole.Length / 3 + 9)];
        await using Scheduler scheduler = new(model);
        (string text, FinishReason? reason) = await Text(options);
        Assert.Equal((whole, FinishReason.Length), (text.TrimStart(), reason));
        (string cut, FinishReason? stopped) = await Text(options with { StopStrings = ["never there", stop] });
        Assert.Equal((whole[..whole.IndexOf(stop, StringComparison.Ordinal)], FinishReason.Stop), (cut.TrimStart(), stopped));

        async Task<(string, FinishReason?)> Text(GenerateOptions how)
        {
            List<GeneratedToken> tokens =
                await Collect(scheduler, new() { Prompt = model.Tokenizer.EncodeContext(Context), Options = how });
            return (string.Concat(tokens.Select(token => token.Text)), tokens[^1].FinishReason);
        }
    }

    private T Run<T>(SchedulerOptions options, Func<Scheduler, Task<T>> ask)
    {
        using AdapterPool pool = new(place.Model);
        return Run(pool, options, ask);
    }

    private T Run<T>(AdapterPool pool, SchedulerOptions options, Func<Scheduler, Task<T>> ask)
    {
        return Task.Run(Work).GetAwaiter().GetResult();

        async Task<T> Work()
        {
            await using Scheduler scheduler = new(place.Model, pool, options);
            return await ask(scheduler);
        }
    }

    private static async Task<List<GeneratedToken>> Collect(
        Scheduler scheduler, GenerateRequest request, CancellationToken cancel = default)
    {
        List<GeneratedToken> tokens = [];
        await foreach (GeneratedToken token in scheduler.GenerateAsync(request, cancel)) tokens.Add(token);
        return tokens;
    }

    // The tokens, up to a number of them.
    private static async Task<int[]> Ask(Scheduler scheduler, GenerateRequest request, int most)
    {
        List<int> ids = [];
        if (most == 0)
        {
            await using IAsyncEnumerator<GeneratedToken> left = scheduler.GenerateAsync(request).GetAsyncEnumerator();
            return [];
        }
        await foreach (GeneratedToken token in scheduler.GenerateAsync(request))
        {
            if (token.Id != GeneratedToken.NoToken) ids.Add(token.Id);
            if (ids.Count == most) break;
        }
        return [.. ids];
    }

    private static GenerateOptions Options(Random r) => r.Next(6) switch
    {
        0 => new() { MaxNewTokens = 1 + r.Next(8), StopTokens = [3, 9], RepetitionPenalty = 1.3f, NoRepeatNgram = 2 },
        1 => new() { MaxNewTokens = 1 + r.Next(8), StopTokens = [4], PresencePenalty = 0.7f, FrequencyPenalty = 0.4f },
        2 => new() { MaxNewTokens = 1 + r.Next(8), StopTokens = [], Temperature = 1.3f, TopP = 0.9f, Seed = (ulong)r.Next() },
        3 => new() { MaxNewTokens = 1 + r.Next(8), StopTokens = [5], TopK = 1 + r.Next(9), Seed = (ulong)r.Next(), MinNewTokens = 1 },
        4 => new()
        {
            MaxNewTokens = r.Next(8),
            StopTokens = [3],
            LogitBias = new Dictionary<int, float> { [r.Next(61)] = 3, [r.Next(61)] = -100 },
        },
        _ => new() { MaxNewTokens = 1 + r.Next(30), StopTokens = [3] },
    };
}
