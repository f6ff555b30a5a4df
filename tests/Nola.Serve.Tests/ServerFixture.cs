using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Serve.Tests;

/// <summary>A running server of the embedded model with a directory of adapters, and the model by itself to compare with.</summary>
public sealed class ServerFixture : IAsyncLifetime
{
    /// <summary>What is asked in most tests.</summary>
    public const string Context = "name : Blue Spice | Type : pub | food : Indian";

    private readonly Device device = Device.Open("cpu", 1);
    private readonly LanguageModel model;

    public ServerFixture() => model = LanguageModel.Load(LanguageModel.EmbeddedName, device);

    internal Reference Reference { get; } = new();

    internal NolaServer Server { get; private set; } = null!;

    internal Api Api { get; private set; } = null!;

    /// <summary>
    /// The directory of adapters: alpha, beta, runs/gamma (a run's directory) and lora (a PEFT directory), and a broken one.
    /// </summary>
    public string Adapters { get; } = Directory.CreateTempSubdirectory("nola-serve-").FullName;

    /// <summary>What is told of the adapters and of faults.</summary>
    internal List<string> Log { get; } = [];

    /// <summary>The file of an adapter.</summary>
    public string PathOf(string name) => name switch
    {
        "runs/gamma" => Path.Combine(Adapters, "runs", "gamma", "adapter.safetensors"),
        "lora" => Path.Combine(Adapters, "lora"),
        _ => Path.Combine(Adapters, name + ".safetensors"),
    };

    public async Task InitializeAsync()
    {
        TestAdapters.Write(model, PathOf("alpha"), 1);
        TestAdapters.Write(model, PathOf("beta"), 2);
        TestAdapters.Write(model, PathOf("runs/gamma"), 3, new NolaOptions { Rank = 2, Alpha = 8, Bases = 16, Seed = 7, Targets = ["*"] });
        File.Copy(PathOf("alpha"), Path.Combine(Adapters, "runs", "gamma", "last.safetensors"));
        WriteLora();
        File.WriteAllText(Path.Combine(Adapters, "broken.safetensors"), "not a file of tensors");
        Server = await NolaServer.StartAsync(model, new()
        {
            Url = "http://127.0.0.1:0",
            Adapters = Adapters,
            Scheduler = new() { MaxRunning = 16, MaxQueue = 64 },
            Log = line =>
            {
                lock (Log) Log.Add(line);
            },
        });
        Api = new(Server.Address);
    }

    public async Task DisposeAsync()
    {
        Api.Dispose();
        await Server.DisposeAsync();
        model.Dispose();
        device.Dispose();
        Reference.Dispose();
        Directory.Delete(Adapters, recursive: true);
    }

    private void WriteLora()
    {
        string file = Path.Combine(Adapters, "lora.tmp");
        TestAdapters.Write(model, file, 4, new LoraOptions { Rank = 2, Alpha = 8, Targets = ["q", "v"] });
        using LoadedAdapter adapter = AdapterFile.Load(file, model);
        PeftFiles.Save(adapter, PathOf("lora"));
        File.Delete(file);
    }
}

/// <summary>Tests that share one server.</summary>
[CollectionDefinition(Name)]
public sealed class ServerCollection : ICollectionFixture<ServerFixture>
{
    public const string Name = "server";
}
