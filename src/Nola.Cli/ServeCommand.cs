using System.CommandLine;
using Nola.Models;
using Nola.Serve;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola serve</c>: answers requests by HTTP until it is told to stop.</summary>
internal static class ServeCommand
{
    // Where no key is on the command line, which others on the machine can read.
    private const string KeyVariable = "NOLA_API_KEY";

    private static readonly ServeOptions defaults = new();

    public static Command Create()
    {
        CommonOptions common = new();
        Option<string> adapters = new("--adapters")
        {
            Description = "Directory of adapters, served by their paths without .safetensors; files may come, go and change at any time",
        };
        Option<bool> outside = new("--allow-outside")
        {
            Description = "Load adapters from everywhere, and follow links out of --adapters",
        };
        Option<string> name = new("--name") { Description = "What requests call the base model [what it is loaded by]" };
        Option<string> host = new("--host")
        {
            Description = "Address to listen at; 0.0.0.0 for all of this machine's",
            DefaultValueFactory = _ => "127.0.0.1",
        };
        Option<int> port = new WholeOption<int>("--port") { Description = "Port; 0 for a free one", DefaultValueFactory = _ => 8080 };
        Option<string[]> allowed = new("--allow-host")
        {
            Description = "Further names that requests may be sent to, such as a reverse proxy's, where only this machine is listened to "
                + "and there is no API key; * for any",
            AllowMultipleArgumentsPerToken = true,
        };
        Option<string> key = new("--api-key") { Description = $"What requests must send as their bearer token [{KeyVariable}]" };
        Option<int> mixed = Megabytes("--mixed-memory", "Memory for mixed adapters, in MiB", defaults.Pool.MixedMemory);
        Option<int> cache = Megabytes(
            "--cache-memory", "Memory for keys and values of running texts, in MiB", defaults.Scheduler.CacheBytes);
        Option<int> prefix = Megabytes(
            "--prefix-memory", "Memory for keys and values of prompts that begin alike, in MiB; 0 for none",
            defaults.Scheduler.PrefixCacheBytes);
        Option<int> batch = Count("--batch-tokens", "Maximum number of tokens read at once", defaults.Scheduler.BatchTokens);
        Option<int> running = Count("--max-running", "Maximum number of texts continued at once", defaults.Scheduler.MaxRunning);
        Option<int> queue = Count(
            "--max-queue", "Maximum number of prompts that wait; beyond it, requests are refused (429)", defaults.Scheduler.MaxQueue);
        Option<int> drain = Count(
            "--drain", "Seconds that requests have to end when the server is stopped", (int)defaults.Drain.TotalSeconds);
        Command command = new("serve", "Answer requests by HTTP, as OpenAI's API does, with a model and the adapters of a directory.")
        {
            common.Model, adapters, outside, name, host, port, allowed, key, mixed, cache, prefix, batch, running, queue, drain,
            common.DeviceName, common.Threads, common.Storage, common.Json,
        };
        command.Does((r, _) =>
        {
            ServeOptions options = new()
            {
                Url = $"http://{Host(r.GetValue(host)!)}:{r.GetValue(port)}",
                ModelName = r.GetValue(name),
                Adapters = r.GetValue(adapters),
                AllowOutside = r.GetValue(outside),
                AllowedHosts = r.GetValue(allowed) ?? [],
                ApiKey = r.GetValue(key) ?? (Environment.GetEnvironmentVariable(KeyVariable) is { Length: > 0 } set ? set : null),
                Drain = TimeSpan.FromSeconds(r.GetValue(drain)),
                Pool = new() { MixedMemory = Bytes(r.GetValue(mixed)) },
                Scheduler = new()
                {
                    BatchTokens = r.GetValue(batch),
                    MaxRunning = r.GetValue(running),
                    MaxQueue = r.GetValue(queue),
                    CacheBytes = Bytes(r.GetValue(cache)),
                    PrefixCacheBytes = Bytes(r.GetValue(prefix)),
                },
                Log = Terminal.Say,
            };
            bool json = r.GetValue(common.Json);
            return common.WithModel(r, (model, _) => RunAsync(model, options, json).GetAwaiter().GetResult());
        });
        return command;
    }

    private static async Task<int> RunAsync(LanguageModel model, ServeOptions options, bool json)
    {
        using IDisposable held = Signals.Held("Stopping when what is being answered is answered. Press again to stop at once.");
        NolaServer server = await NolaServer.StartAsync(model, options, Signals.Stop).ConfigureAwait(false);
        await using (server.ConfigureAwait(false))
        {
            int adapters = server.Adapters.Adapters.Count, refused = server.Directory?.Refused.Count ?? 0;
            string beside = adapters == 1 ? "1 adapter" : $"{adapters:N0} adapters";
            string others = refused > 0 ? $" ({refused:N0} refused)" : "";
            if (json) Terminal.Json(new { url = server.Address.ToString().TrimEnd('/'), model = server.ModelName, adapters, refused });
            Terminal.Say($"{server.ModelName} and {beside}{others} at {server.Address} (Ctrl-C to stop)");
            TaskCompletionSource stop = new(TaskCreationOptions.RunContinuationsAsynchronously);
            using (Signals.Stop.Register(stop.SetResult)) await stop.Task.ConfigureAwait(false);
            await server.StopAsync().ConfigureAwait(false);
        }
        return 0;
    }

    // An address of version 6 stands in brackets before its port.
    private static string Host(string host) => host.Contains(':') && !host.StartsWith('[') ? $"[{host}]" : host;

    private static Option<int> Count(string name, string description, int value) =>
        new WholeOption<int>(name) { Description = description, DefaultValueFactory = _ => value };

    private static Option<int> Megabytes(string name, string description, long bytes) => Count(name, description, (int)(bytes >> 20));

    private static long Bytes(int megabytes) => (long)megabytes << 20;
}
