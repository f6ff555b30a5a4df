using System.Diagnostics;
using Nola.Models;

namespace Nola.ServeBench;

/// <summary>What a load gave.</summary>
/// <param name="Requests">Requests that were answered.</param>
/// <param name="Tokens">Tokens that were generated.</param>
/// <param name="Seconds">In this time.</param>
/// <param name="FirstTokens">Seconds to the first token of each request, ascending.</param>
/// <param name="Misses">Sequences whose factors had to be mixed.</param>
/// <param name="MixSeconds">Seconds spent mixing.</param>
internal sealed record LoadResult(int Requests, int Tokens, double Seconds, double[] FirstTokens, long Misses, double MixSeconds)
{
    public double TokensPerSecond => Tokens / Seconds;

    public double FirstToken(double quantile) => FirstTokens[Math.Min(FirstTokens.Length - 1, (int)(quantile * FirstTokens.Length))];
}

/// <summary>
/// Clients that each ask, wait for the whole answer, and ask again: a prompt that no other has, and an adapter by Zipf's law.
/// </summary>
internal sealed class Load(LanguageModel model, int clients, int promptTokens, int newTokens)
{
    /// <summary>Runs a load for some seconds after a first round of answers.</summary>
    /// <param name="pool">The adapters.</param>
    /// <param name="choose">Which adapter the next request has; null for the base model.</param>
    /// <param name="seconds">How long.</param>
    /// <param name="seed">Of prompts and choices.</param>
    public async Task<LoadResult> Run(AdapterPool pool, Func<Random, PooledAdapter?> choose, double seconds, int seed)
    {
        await using Scheduler scheduler = new(model, pool, new() { MaxRunning = clients, PrefixCacheBytes = 0 });
        List<double> firsts = [];
        (int requests, int tokens) = (0, 0);
        bool ends = false;
        Task[] all = [.. Enumerable.Range(0, clients).Select(number => Task.Run(() => Client(number)))];
        // Clients come out of step by their first requests, of different lengths.
        await Task.Delay(TimeSpan.FromSeconds(seconds / 4));
        AdapterPoolStatistics before = pool.Statistics;
        lock (firsts)
        {
            firsts.Clear();
            (requests, tokens) = (0, 0);
        }
        long start = Stopwatch.GetTimestamp();
        await Task.Delay(TimeSpan.FromSeconds(seconds));
        LoadResult result;
        lock (firsts)
        {
            AdapterPoolStatistics after = pool.Statistics;
            result = new(
                requests, tokens, Stopwatch.GetElapsedTime(start).TotalSeconds, [.. firsts.Order()], after.Misses - before.Misses,
                (after.MixTime - before.MixTime).TotalSeconds);
            ends = true;
        }
        await Task.WhenAll(all);
        return result;

        async Task Client(int number)
        {
            Random random = new(seed * 1000 + number);
            await Ask(random, 1 + number * newTokens / clients);
            while (!Volatile.Read(ref ends)) await Ask(random, newTokens);
        }

        async Task Ask(Random random, int most)
        {
            int[] prompt = [.. Enumerable.Range(0, promptTokens).Select(_ => random.Next(model.Shape.Vocabulary))];
            long asked = Stopwatch.GetTimestamp();
            bool first = true;
            GenerateRequest request = new()
            {
                Prompt = prompt,
                Adapter = choose(random),
                Options = new() { MaxNewTokens = most, StopTokens = [] },
            };
            await foreach (GeneratedToken _ in scheduler.GenerateAsync(request))
            {
                lock (firsts)
                {
                    if (first) firsts.Add(Stopwatch.GetElapsedTime(asked).TotalSeconds);
                    tokens++;
                }
                first = false;
            }
            lock (firsts) requests++;
        }
    }

    /// <summary>Chooses item i with a probability in proportion to 1 / (i + 1)ˢ.</summary>
    public static Func<Random, PooledAdapter?> Zipf(PooledAdapter[] adapters, double exponent)
    {
        double[] sums = new double[adapters.Length];
        double sum = 0;
        for (int i = 0; i < sums.Length; i++) sums[i] = sum += Math.Pow(i + 1, -exponent);
        return random =>
        {
            int at = Array.BinarySearch(sums, random.NextDouble() * sum);
            return adapters[Math.Min(at < 0 ? ~at : at, adapters.Length - 1)];
        };
    }
}
