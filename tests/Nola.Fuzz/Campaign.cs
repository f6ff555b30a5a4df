using System.Collections.Concurrent;
using System.Diagnostics;

namespace Nola.Fuzz;

/// <summary>What a campaign is to do.</summary>
internal sealed record CampaignOptions
{
    /// <summary>Only this kind; null for all in turn.</summary>
    public string? Kind { get; init; }

    /// <summary>Of all choices.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>The first input's number, to go on where another campaign ended.</summary>
    public long First { get; init; }

    /// <summary>How many inputs.</summary>
    public long Count { get; init; } = long.MaxValue;

    /// <summary>For how long.</summary>
    public TimeSpan Time { get; init; } = TimeSpan.MaxValue;

    /// <summary>Side by side.</summary>
    public int Threads { get; init; } = 1;

    /// <summary>Where inputs that fail are kept; null keeps none.</summary>
    public string? Failures { get; init; }
}

/// <summary>Runs inputs of all kinds in turn, on several threads, with somebody who watches that none runs for ever.</summary>
/// <param name="options">What is to be done.</param>
/// <param name="say">Told how it goes on.</param>
internal sealed class Campaign(CampaignOptions options, Action<string> say)
{
    /// <summary>After this an input is taken to run for ever, and the campaign ends.</summary>
    public static readonly TimeSpan Hangs = TimeSpan.FromMinutes(1);

    private static readonly TimeSpan look = TimeSpan.FromMilliseconds(100);

    // Of alike failures.
    private const int MostKept = 10;

    // In memory where there is such a place, so that no disk is the limit.
    private readonly string root = Path.Combine(
        Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(),
        $"nola-fuzz-{Environment.ProcessId}-{Guid.NewGuid().ToString("N")[..8]}");
    private readonly ConcurrentDictionary<(string Kind, string What), int> seen = new();
    private readonly ConcurrentQueue<Failure> failures = new();
    private long next;
    private volatile bool hung;

    /// <summary>Runs it.</summary>
    public CampaignReport Run()
    {
        FuzzKind[] kinds = [.. AllKinds.Create().Where(kind => options.Kind is null || kind.Name == options.Kind)];
        (FuzzKind Kind, int Place)[] turns = [.. kinds.SelectMany(kind => Enumerable.Range(0, kind.Weight).Select(i => (kind, i)))];
        Worker[] workers = [.. Enumerable.Range(0, options.Threads).Select(i => new Worker(Path.Combine(root, $"{i}")))];
        Stopwatch clock = Stopwatch.StartNew();
        try
        {
            foreach (FuzzKind kind in kinds) kind.Prepare(workers[0].Bench);
            clock.Restart();
            using CancellationTokenSource ended = new();
            Thread watchdog = new(() => Watch(workers, clock, ended.Token)) { IsBackground = true, Name = "watchdog" };
            watchdog.Start();
            KindCounts[][] counts = [.. workers.Select(_ => kinds.Select(kind => new KindCounts(kind.Name)).ToArray())];
            Thread[] threads = [.. workers.Select((worker, i) => new Thread(() => Work(worker, kinds, counts[i], turns, clock)))];
            foreach (Thread thread in threads) thread.IsBackground = true;
            foreach (Thread thread in threads) thread.Start();
            // A thread that runs for ever cannot be ended, only left.
            foreach (Thread thread in threads)
                while (!thread.Join(100) && !hung) { }
            ended.Cancel();
            watchdog.Join();
            KindCounts[] totals = [.. kinds.Select((kind, k) => KindCounts.Sum(kind.Name, counts.Select(c => c[k])))];
            return new(options, totals, [.. failures], clock.Elapsed, hung);
        }
        finally
        {
            if (!hung)
                foreach (Worker worker in workers) worker.Dispose();
            if (Directory.Exists(root)) Directory.Delete(root, recursive: true);
        }
    }

    /// <summary>Runs one input and says what became of it.</summary>
    /// <param name="number">Of the input.</param>
    /// <param name="keep">Where to write its files; null for nowhere.</param>
    /// <param name="file">A file to read in its place; null for the input.</param>
    public Outcome RunOne(long number, string? keep, string? file)
    {
        FuzzKind kind = AllKinds.Create().First(kind => kind.Name == options.Kind);
        try
        {
            Worker worker = new(Path.Combine(root, "0"));
            kind.Prepare(worker.Bench);
            FuzzInput input = kind.Make(Dice.Of(kind.Name, options.Seed, number));
            if (file is not null) input = Replaced(kind, number, file);
            if (keep is not null) Keep(keep, input);
            using CancellationTokenSource ended = new();
            Thread watchdog = new(() => Watch([worker], Stopwatch.StartNew(), ended.Token)) { IsBackground = true };
            watchdog.Start();
            Outcome? outcome = null;
            Thread thread = new(() => outcome = worker.Run(kind, options.Seed, number, input)) { IsBackground = true };
            thread.Start();
            while (!thread.Join(100) && !hung) { }
            ended.Cancel();
            return outcome ?? new(false, "", failures.First(), Hangs, 0);
        }
        finally
        {
            if (Directory.Exists(root)) Directory.Delete(root, recursive: true);
        }
    }

    // A whole example in which the file of that name, or else the only one with its extension, is the given one.
    private FuzzInput Replaced(FuzzKind kind, long number, string file)
    {
        for (long i = number; ; i++)
        {
            FuzzInput input = kind.Make(Dice.Of(kind.Name, options.Seed, i));
            if (!input.IsWhole) continue;
            string name = input.Files.Select(f => f.Name).FirstOrDefault(n => Path.GetFileName(n) == Path.GetFileName(file))
                ?? input.Files.Select(f => f.Name).First(n => Path.GetExtension(n) == Path.GetExtension(file));
            return new([.. input.Files.Select(f => f.Name == name ? (name, File.ReadAllBytes(file)) : f)], false);
        }
    }

    private void Work(Worker worker, FuzzKind[] kinds, KindCounts[] counts, (FuzzKind Kind, int Place)[] turns, Stopwatch clock)
    {
        Dictionary<FuzzKind, KindCounts> byKind = kinds.Zip(counts).ToDictionary(pair => pair.First, pair => pair.Second);
        while (!hung && clock.Elapsed < options.Time && Interlocked.Increment(ref next) - 1 is var index && index < options.Count)
        {
            (long round, long turn) = Math.DivRem(options.First + index, turns.Length);
            (FuzzKind kind, int place) = turns[turn];
            long number = round * kind.Weight + place;
            Outcome outcome = Attempt(worker, kind, number, out FuzzInput input);
            byKind[kind].Add(outcome);
            if (outcome.Failure is { } failure) Report(failure, input);
        }
    }

    // A mutation that fails is a fault of ours, to be seen and not to end everything.
    private Outcome Attempt(Worker worker, FuzzKind kind, long number, out FuzzInput input)
    {
        input = new([], false);
        try
        {
            input = kind.Make(Dice.Of(kind.Name, options.Seed, number));
            return worker.Run(kind, options.Seed, number, input);
        }
        catch (Exception error)
        {
            Failure ours = new(kind.Name, options.Seed, number, $"the campaign itself: {error.GetType().Name}", error.ToString());
            return new(false, error.Message, ours, TimeSpan.Zero, 0);
        }
    }

    private void Report(Failure failure, FuzzInput input)
    {
        failures.Enqueue(failure);
        int times = seen.AddOrUpdate((failure.Kind, failure.What), 1, (_, n) => n + 1);
        if (times == 1) say($"FAILED {failure.Kind} --seed {failure.Seed} --number {failure.Number}: {failure.What}");
        if (times > MostKept || options.Failures is null) return;
        string folder = Path.Combine(options.Failures, failure.Kind, $"{failure.Seed}-{failure.Number}");
        Keep(folder, input);
        File.WriteAllText(Path.Combine(folder, "failure.log"), $"{failure.What}\n{failure.Command}\n{failure.Detail}\n");
    }

    private static void Keep(string folder, FuzzInput input)
    {
        Directory.CreateDirectory(folder);
        foreach ((string name, byte[] bytes) in input.Files)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(folder, name))!);
            File.WriteAllBytes(Path.Combine(folder, name), bytes);
        }
    }

    private void Watch(Worker[] workers, Stopwatch clock, CancellationToken ended)
    {
        TimeSpan told = clock.Elapsed;
        // Each worker's attempt, and how often in a row it was seen at it. Time on the clock would go on while the process is stopped.
        (long Started, int Looks)[] seenAt = new (long, int)[workers.Length];
        while (!ended.WaitHandle.WaitOne(look))
        {
            for (int i = 0; i < workers.Length; i++)
            {
                long started = workers[i].Started;
                seenAt[i] = (started, started != 0 && started == seenAt[i].Started ? seenAt[i].Looks + 1 : 0);
                TimeSpan running = seenAt[i].Looks * look;
                if (running < Worker.LongestTime || workers[i].Current is not { } input) continue;
                string name = $"{input.Kind.Name} --seed {input.Seed} --number {input.Number}";
                if (running == Worker.LongestTime) say($"SLOW   {name}: still running after 2 s");
                if (running < Hangs) continue;
                FuzzInput files = input.Kind.Make(Dice.Of(input.Kind.Name, input.Seed, input.Number));
                Report(new(input.Kind.Name, input.Seed, input.Number, "runs for ever", ""), files);
                say($"{name} runs for ever; the campaign ends here.");
                hung = true;
                return;
            }
            if (clock.Elapsed - told < TimeSpan.FromSeconds(10)) continue;
            told = clock.Elapsed;
            long done = Math.Max(0, Math.Min(Interlocked.Read(ref next), options.Count) - workers.Length);
            string speed = $"{told.TotalMinutes:F1} min, {done / told.TotalSeconds:N0}/s";
            say($"{done:N0} inputs in {speed}, {failures.Count:N0} failed; {Environment.WorkingSet >> 20:N0} MB");
        }
    }
}
