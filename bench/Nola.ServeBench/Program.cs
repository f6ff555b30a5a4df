using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using Nola.Models;
using Nola.Tensors;

namespace Nola.ServeBench;

/// <summary>
/// Thousands of adapters beside GPT-2 small: loading, memory, and tokens a second under load against the same load on the base alone.
/// All loads are run in turn, several times, and the median of the ratios counts, so that what the machine does meanwhile meets all.
/// <c>dotnet run -c Release --project bench/Nola.ServeBench</c>
/// </summary>
internal static class Program
{
    private const long MiB = 1L << 20;

    private static int Main(string[] args)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        Option<int> count = new("--adapters") { Description = "Adapter files; 0 leaves serving out", DefaultValueFactory = _ => 10_000 };
        Option<int> threads = new("--threads") { Description = "Threads; 0 for one per core" };
        Option<int> clients = new("--clients") { Description = "Clients that ask at once", DefaultValueFactory = _ => 16 };
        Option<double> seconds = new("--seconds") { Description = "Seconds of each load", DefaultValueFactory = _ => 20 };
        Option<int> rounds = new("--rounds") { Description = "How often each load is run", DefaultValueFactory = _ => 3 };
        Option<string> size = new("--size")
        {
            Description = "gpt2, gpt2-medium, …, with random weights",
            DefaultValueFactory = _ => "gpt2",
        };
        Option<int> tasks = new("--tasks")
        {
            Description = "Tasks that are trained together beside the embedded model; 0 leaves that out",
            DefaultValueFactory = _ => 64,
        };
        Option<string> output = new("--out") { Description = "Also write this file" };
        RootCommand root = new("Serving many adapters beside one model.") { count, threads, clients, seconds, rounds, size, tasks, output };
        root.SetAction(r => Run(
            r.GetValue(count), r.GetValue(threads), r.GetValue(clients), r.GetValue(seconds), r.GetValue(rounds), r.GetValue(size)!,
            r.GetValue(tasks), r.GetValue(output)));
        return root.Parse(args).Invoke();
    }

    private static int Run(int count, int threads, int clients, double seconds, int rounds, string size, int tasks, string? output)
    {
        StringBuilder report = new();
        if (count > 0) Serve(count, threads, clients, seconds, rounds, size, Line);
        if (tasks > 0) new TasksBench(tasks, threads, Line).Run();
        if (output is not null) File.WriteAllText(output, report.ToString());
        return 0;

        void Line(string text)
        {
            Console.WriteLine(text);
            report.AppendLine(text);
        }
    }

    private static void Serve(int count, int threads, int clients, double seconds, int rounds, string size, Action<string> line)
    {
        using CpuDevice device = new(threads);
        using LanguageModel model = LanguageModel.Create(Gpt2Config.ByName(size)!, device, 1, trainable: false);
        NolaOptions options = new() { Rank = 8, Bases = 512, Targets = ["attn.q", "attn.v"] };
        string directory = Directory.CreateTempSubdirectory("nola-serve-bench").FullName;
        try
        {
            line($"# Nola serves {count} adapters beside {size}");
            line("");
            line(
                $"{DateTime.UtcNow:yyyy-MM-dd}, {device.Description}, .NET {Environment.Version}. "
                + "NOLA, k = 512, r = 8, on queries and values.");
            line($"{clients} clients, 24 tokens of prompt, 32 new tokens; {rounds} rounds of {seconds} s each, medians.");
            string[] files = AdapterFiles.Write(model, options, directory, count);
            Measure(new Bench(model, files, clients, seconds, rounds, line));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static void Measure(Bench bench)
    {
        using AdapterPool large = bench.Pool(256), small = bench.Pool(32), few = bench.Pool(256);
        PooledAdapter[] all = bench.Add(large);
        PooledAdapter[] same = bench.Share(all, small), ten = bench.Share(all[..Math.Min(10, all.Length)], few);
        PooledAdapter[] sixteen = all[..Math.Min(16, all.Length)];
        int turn = 0;
        bench.Run(
            ("the base alone", large, _ => null),
            ("Zipf 1, 256 mixed", large, Load.Zipf(all, 1)),
            ("Zipf 0, 32 mixed", small, Load.Zipf(same, 0)),
            ("Zipf 1 of 10, 256 mixed", few, Load.Zipf(ten, 1)),
            ("16 of one adapter", large, _ => all[0]),
            ("16 different adapters", large, _ => sixteen[Interlocked.Increment(ref turn) % sixteen.Length]));
        bench.Bar("Zipf 1, 256 mixed", "the base alone", 0.85);
        bench.Bar("Zipf 0, 32 mixed", "the base alone", 0.60);
        bench.Bar("Zipf 1, 256 mixed", "Zipf 1 of 10, 256 mixed", 0.90);
        bench.Bar("16 different adapters", "16 of one adapter", 0.80);
        bench.Memory(large);
    }

    /// <summary>One run: pools, loads, and the tables as they grow.</summary>
    private sealed class Bench(LanguageModel model, string[] files, int clients, double seconds, int rounds, Action<string> line)
    {
        private readonly Dictionary<string, LoadResult[]> results = [];
        private long one, heap;

        /// <summary>A pool with room for so many mixed adapters.</summary>
        public AdapterPool Pool(int mixed)
        {
            if (one == 0)
            {
                using AdapterPool probe = new(model);
                one = probe.Add("one", files[0]).MixedBytes;
            }
            return new(model, new() { MixedMemory = mixed * one });
        }

        /// <summary>Reads all files, and says how long that took and what it holds.</summary>
        public PooledAdapter[] Add(AdapterPool pool)
        {
            long before = GC.GetTotalMemory(true), start = Stopwatch.GetTimestamp();
            PooledAdapter[] all = [.. files.Select(file => pool.Add(Path.GetFileNameWithoutExtension(file), file))];
            double took = Stopwatch.GetElapsedTime(start).TotalSeconds;
            heap = GC.GetTotalMemory(true) - before;
            line("");
            line("## Loading");
            line("");
            line("| adapters | seconds | ms an adapter | bytes of its coefficients | bytes held for it | bytes of its factors |");
            line("|---|---|---|---|---|---|");
            line(
                $"| {all.Length} | {took:0.00} | {1000 * took / all.Length:0.000} | {pool.Statistics.Bytes / all.Length} "
                + $"| {heap / all.Length} | {one} |");
            return all;
        }

        /// <summary>The same files in another pool.</summary>
        public PooledAdapter[] Share(PooledAdapter[] adapters, AdapterPool pool) =>
            [.. adapters.Select(adapter => pool.Add(adapter.Name, adapter.Path))];

        /// <summary>Runs loads in turn.</summary>
        public void Run(params (string Name, AdapterPool Pool, Func<Random, PooledAdapter?> Choose)[] loads)
        {
            Load load = new(model, clients, 24, 32);
            foreach ((string name, _, _) in loads) results[name] = new LoadResult[rounds];
            for (int round = 0; round < rounds; round++)
                foreach ((string name, AdapterPool pool, Func<Random, PooledAdapter?> choose) in loads)
                    results[name][round] = load.Run(pool, choose, seconds, round + 1).GetAwaiter().GetResult();
            line("");
            line("## Loads");
            line("");
            line("| load | tokens/s | requests/s | first token p50, ms | p99, ms | misses a request | ms a miss |");
            line("|---|---|---|---|---|---|---|");
            foreach ((string name, _, _) in loads)
            {
                LoadResult[] own = results[name];
                string miss = own.Sum(r => r.Misses) == 0 ? "" : $"{1000 * own.Sum(r => r.MixSeconds) / own.Sum(r => r.Misses):0.0}";
                line(
                    $"| {name} | {Median(own, r => r.TokensPerSecond):0.0} | {Median(own, r => r.Requests / r.Seconds):0.00} "
                    + $"| {1000 * Median(own, r => r.FirstToken(0.5)):0} | {1000 * Median(own, r => r.FirstToken(0.99)):0} "
                    + $"| {(double)own.Sum(r => r.Misses) / own.Sum(r => r.Requests):0.00} | {miss} |");
            }
            line("");
            line("## Bars");
            line("");
            line("| tokens/s of | against | measured | bar | |");
            line("|---|---|---|---|---|");
        }

        /// <summary>A load against another, round by round.</summary>
        public void Bar(string name, string against, double limit)
        {
            double[] ratios = [.. results[name].Zip(results[against], (a, b) => a.TokensPerSecond / b.TokensPerSecond).Order()];
            double median = ratios[ratios.Length / 2];
            string spread = $"{ratios[0]:0.00} … {ratios[^1]:0.00}";
            line($"| {name} | {against} | {median:0.00} ({spread}) | ≥ {limit:0.00} | {(median >= limit ? "pass" : "**fail**")} |");
        }

        /// <summary>What is held beside the base, against the coefficients and the factors that are allowed.</summary>
        public void Memory(AdapterPool pool)
        {
            double allowed = 1.2 * pool.Statistics.Bytes + pool.Options.MixedMemory;
            double held = heap + pool.Statistics.MixedBytes;
            line("");
            line(
                $"Beside the base: {heap / MiB} MiB on the heap for all adapters and {pool.Statistics.MixedBytes / MiB} MiB of factors, "
                + $"{held / allowed:0.00} of 1.2 × coefficients + the factors that are allowed (at most 1.00): "
                + $"{(held <= allowed ? "pass" : "**fail**")}.");
        }

        private static double Median(LoadResult[] results, Func<LoadResult, double> of) =>
            results.Select(of).Order().ElementAt(results.Length / 2);
    }
}
