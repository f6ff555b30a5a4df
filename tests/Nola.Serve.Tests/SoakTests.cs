using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Xunit;
using Xunit.Abstractions;

namespace Nola.Serve.Tests;

/// <summary>
/// Many clients at once, of which some leave, some send nonsense and some fall silent, while adapters come and go: every greedy answer
/// is the library's, nobody waits for ever, and nothing is left behind. A few seconds here; <c>NOLA_SOAK_SECONDS</c> for longer.
/// </summary>
public sealed class SoakTests(ITestOutputHelper output) : IDisposable
{
    private const int Tokens = 12, MostSilent = 50;

    private static readonly string[] prompts =
        ["The", "name : Blue Spice | food : Thai", "A café", "near : The Punter", "family friendly : no"];

    private static readonly string[] names = ["", "a1", "a2", "a3", "a4", "swap", "nobody"];

    private static readonly string[] nonsense =
        ["{", "[1]", """{"model": "a1"}""", """{"model": "a1", "messages": [{"role": "user", "content": "a"}], "temperature": -1}"""];

    // What a client may be told while adapters come and go and the queue is full.
    private static readonly string[] allowed = ["model_not_found", "queue_full"];

    private readonly string root = Directory.CreateTempSubdirectory("nola-soak-").FullName;
    private readonly Reference reference = new();
    private readonly ConcurrentDictionary<string, int> counts = new();
    private readonly ConcurrentQueue<string> wrong = new();
    private readonly Queue<TcpClient> silent = [];
    private Dictionary<(string Adapter, string Prompt), string> expected = [];

    [Fact]
    public async Task Nothing_wrong_nothing_stuck_nothing_left()
    {
        double seconds = double.TryParse(Environment.GetEnvironmentVariable("NOLA_SOAK_SECONDS"), out double set) ? set : 4;
        int clients = set > 0 ? 64 : 12;
        foreach (int seed in Enumerable.Range(1, 4)) TestAdapters.Write(reference.Model, PathOf($"a{seed}"), seed);
        expected = (from adapter in (string[])["", "a1", "a2", "a3", "a4"] from prompt in prompts select (adapter, prompt))
            .ToDictionary(key => key, key => reference.Answer(key.prompt, key.adapter.Length == 0 ? null : PathOf(key.adapter), Tokens));
        using Device device = Device.Open("cpu", 1);
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        // Room for two mixed adapters of about five, so that they make room for each other all the time.
        long mixed = Mixed(model);
        await using NolaServer server = await NolaServer.StartAsync(model, new()
        {
            Url = "http://127.0.0.1:0",
            Adapters = root,
            Pool = new() { MixedMemory = 2 * mixed },
            Scheduler = new() { MaxRunning = 16, MaxQueue = 48 },
        });
        using Api api = new(server.Address);
        Stopwatch clock = Stopwatch.StartNew();
        (long Set, long Heap) early = default;
        Task[] work =
        [
            .. Enumerable.Range(0, clients).Select(i => Task.Run(() => ClientAsync(api, new Random(i), GoesOn))),
            Task.Run(() => SwapAsync(api, GoesOn)),
        ];
        while (GoesOn())
        {
            await Task.Delay(100);
            // When everything has been used once.
            if (early.Set == 0 && clock.Elapsed.TotalSeconds > seconds / 4) early = Memory();
        }
        await Task.WhenAll(work).WaitAsync(TimeSpan.FromSeconds(60));
        for (int i = 0; i < 300 && server.Scheduler.Statistics is { Running: > 0 } or { Waiting: > 0 }; i++) await Task.Delay(10);
        (long Set, long Heap) late = Memory();
        Report(server, clients, clock.Elapsed, early, late);
        Assert.Empty(wrong);
        Assert.Equal((0, 0), (server.Scheduler.Statistics.Running, server.Scheduler.Statistics.Waiting));
        Assert.True(counts["answers"] > 5, "too few answers to mean anything");
        if (set < 60) return;
        Assert.True(late.Set < early.Set * 1.1 + (16 << 20), $"memory grew from {early.Set:N0} to {late.Set:N0} bytes");
        Assert.True(late.Heap < early.Heap * 1.1 + (4 << 20), $"the heap grew from {early.Heap:N0} to {late.Heap:N0} bytes");

        bool GoesOn() => clock.Elapsed.TotalSeconds < seconds;
    }

    public void Dispose()
    {
        foreach (TcpClient connection in silent) connection.Dispose();
        reference.Dispose();
        Directory.Delete(root, recursive: true);
    }

    private async Task ClientAsync(Api api, Random random, Func<bool> goesOn)
    {
        while (goesOn())
        {
            try
            {
                await (random.Next(10) switch
                {
                    0 => LeaveAsync(api, random),
                    1 => NonsenseAsync(api, random),
                    2 when random.Next(10) == 0 => FallSilentAsync(api.Http.BaseAddress!),
                    _ => AskAsync(api, random),
                });
            }
            catch (Exception error)
            {
                wrong.Enqueue($"{error.GetType().Name}: {error.Message}");
                return;
            }
        }
    }

    private async Task AskAsync(Api api, Random random)
    {
        string name = names[random.Next(names.Length)], prompt = prompts[random.Next(prompts.Length)];
        (HttpStatusCode status, JsonElement body) = await api.SendAsync("/v1/chat/completions", Chat(name, prompt, stream: false));
        if ((int)status >= 400)
        {
            string? code = Api.Error(status, body).Code;
            Count(code!);
            // Far sooner than it is told to, but not at once.
            if (code == allowed[1]) await Task.Delay(random.Next(100));
            if (!allowed.Contains(code) || (code == allowed[0] && name is not ("swap" or "nobody"))) wrong.Enqueue($"{name}: {body}");
            return;
        }
        Count("answers");
        string text = body.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;
        bool right = name == "swap"
            ? text == expected[("a1", prompt)] || text == expected[("a2", prompt)]
            : name != "nobody" && text == expected[(name, prompt)];
        if (!right) wrong.Enqueue($"{name}, {prompt}: {text}");
    }

    private async Task LeaveAsync(Api api, Random random)
    {
        using HttpRequestMessage message = new(HttpMethod.Post, "/v1/chat/completions")
        {
            Content = Api.Json(Chat("a1", prompts[0], stream: true, tokens: 500)),
        };
        using HttpResponseMessage answer = await api.Http.SendAsync(message, HttpCompletionOption.ResponseHeadersRead);
        await Task.Delay(random.Next(20));
        if (answer.IsSuccessStatusCode) Count("left");
    }

    private async Task NonsenseAsync(Api api, Random random)
    {
        (HttpStatusCode status, JsonElement body) = await api.SendAsync("/v1/chat/completions", nonsense[random.Next(nonsense.Length)]);
        Assert.Equal(400, Api.Error(status, body).Status);
        Count("nonsense");
    }

    private async Task FallSilentAsync(Uri address)
    {
        TcpClient connection = new();
        TcpClient? oldest = null;
        lock (silent)
        {
            silent.Enqueue(connection);
            if (silent.Count > MostSilent) oldest = silent.Dequeue();
        }
        oldest?.Dispose();
        await connection.ConnectAsync(address.Host, address.Port);
        await connection.GetStream().WriteAsync("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{"u8.ToArray());
        Count("silent");
    }

    // One name stands for one adapter, for another, and for none.
    private async Task SwapAsync(Api api, Func<bool> goesOn)
    {
        for (int i = 0; goesOn(); i++)
        {
            await api.PostAsync("/v1/load_lora_adapter", new { lora_name = "swap", lora_path = $"a{i % 2 + 1}.safetensors" });
            await Task.Delay(20);
            if (i % 5 == 4) await api.PostAsync("/v1/unload_lora_adapter", new { lora_name = "swap" });
            // A file that comes and goes by itself.
            if (i % 7 == 6) Come("a3", "b");
            if (i % 7 == 3) File.Delete(PathOf("b"));
            Count("swaps");
        }
    }

    // Written elsewhere and renamed, as whoever changes a directory that is served is told to do.
    private void Come(string file, string name)
    {
        string beside = Path.Combine(root, "beside");
        File.Copy(PathOf(file), beside, overwrite: true);
        File.Move(beside, PathOf(name), overwrite: true);
    }

    private void Report(NolaServer server, int clients, TimeSpan took, (long Set, long Heap) early, (long Set, long Heap) late)
    {
        SchedulerStatistics all = server.Scheduler.Statistics;
        AdapterPoolStatistics pool = server.Adapters.Statistics;
        string line = $"Soak: {clients} clients, {took.TotalSeconds:N0} s: "
            + string.Join(", ", counts.OrderBy(c => c.Key).Select(c => $"{c.Value:N0} {c.Key}"))
            + $"; {all.Completed:N0} completed, {all.Canceled:N0} canceled, {all.GeneratedTokens:N0} tokens; "
            + $"{pool.Misses:N0} adapters mixed, {pool.Evictions:N0} made room; wrong: {wrong.Count}; "
            + $"memory {early.Set / 1e6:N1} MB (heap {early.Heap / 1e6:N1}) at a quarter, "
            + $"{late.Set / 1e6:N1} MB (heap {late.Heap / 1e6:N1}) at the end";
        output.WriteLine(line);
        Console.WriteLine(line);
    }

    private void Count(string what) => counts.AddOrUpdate(what, 1, (_, count) => count + 1);

    private static string Chat(string adapter, string prompt, bool stream, int tokens = Tokens) => JsonSerializer.Serialize(new
    {
        model = adapter.Length == 0 ? "nola-tiny" : adapter,
        messages = new[] { new { role = "user", content = prompt } },
        max_tokens = tokens,
        temperature = 0,
        stream,
        // What is left in the middle does not end by itself before.
        ignore_eos = stream,
    });

    private string PathOf(string name) => Path.Combine(root, name + ".safetensors");

    private long Mixed(LanguageModel model)
    {
        using AdapterPool pool = new(model);
        return pool.Add("a", PathOf("a1")).MixedBytes;
    }

    // Bytes of the process, and of what the garbage collector keeps of them.
    private static (long Set, long Heap) Memory()
    {
        GC.Collect(2, GCCollectionMode.Forced, blocking: true);
        GC.WaitForPendingFinalizers();
        long heap = GC.GetTotalMemory(forceFullCollection: true);
        using Process self = Process.GetCurrentProcess();
        return (self.WorkingSet64, heap);
    }
}
