using Microsoft.Extensions.AI;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Extensions.AI;

/// <summary>What is loaded, and from where.</summary>
public sealed record NolaHostOptions
{
    /// <summary>The base model: the embedded one, a directory, or a name in the Hugging Face cache.</summary>
    public string Model { get; init; } = LanguageModel.EmbeddedName;

    /// <summary>Where it is computed: <c>auto</c>, <c>cpu</c>, <c>cuda</c> or <c>cuda:1</c>.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>Threads of the CPU; 0 for one a core.</summary>
    public int Threads { get; init; }

    /// <summary>How the frozen weights are kept.</summary>
    public WeightFormat Format { get; init; } = WeightFormat.Float32;

    /// <summary>A directory of adapters, which is watched; null for none.</summary>
    public string? Adapters { get; init; }

    /// <summary>Follow links out of <see cref="Adapters"/>.</summary>
    public bool AllowOutside { get; init; }

    /// <summary>How much memory mixed adapters may take.</summary>
    public AdapterPoolOptions Pool { get; init; } = new();

    /// <summary>How much is done at once, and how much may wait.</summary>
    public SchedulerOptions Scheduler { get; init; } = new();
}

/// <summary>
/// One base model with its adapters, and the scheduler that answers all who ask them, in one batch. Thread-safe.
/// </summary>
public sealed class NolaHost : IDisposable, IAsyncDisposable
{
    private readonly Device device;
    private bool disposed;

    /// <summary>Opens the device, and loads the model and the adapters' files.</summary>
    /// <exception cref="NolaException">Something cannot be opened, or the model has no tokenizer.</exception>
    public NolaHost(NolaHostOptions? options = null)
    {
        options ??= new();
        device = Device.Open(options.Device, options.Threads);
        try
        {
            Model = LanguageModel.Load(options.Model, device, format: options.Format);
            Adapters = new(Model, options.Pool);
            string name = ModelNames.Of(Model);
            Directory = options.Adapters is { } path ? new(Adapters, path, name, options.AllowOutside) : null;
            Directory?.Scan();
            Names = new(Model, name, Adapters, Directory);
            // What is found once, before many ask at once.
            Model.Tokenizer.Prepare();
            Form = PromptForms.OfConversations(Model);
            Scheduler = new(Model, Adapters, options.Scheduler);
            Directory?.Watch();
        }
        catch
        {
            Directory?.Dispose();
            Adapters?.Dispose();
            Model?.Dispose();
            device.Dispose();
            throw;
        }
    }

    /// <summary>The base model; the scheduler's thread alone uses its device.</summary>
    public LanguageModel Model { get; }

    /// <summary>The adapters beside it.</summary>
    public AdapterPool Adapters { get; }

    /// <summary>The directory that they come from; null for none.</summary>
    public AdapterDirectory? Directory { get; }

    /// <summary>What generates.</summary>
    public Scheduler Scheduler { get; }

    internal ModelNames Names { get; }

    internal PromptForm Form { get; }

    /// <summary>A client for the base model, or for an adapter.</summary>
    /// <param name="adapter">The adapter's name; null for the base model.</param>
    public IChatClient CreateChatClient(string? adapter = null) => new NolaChatClient(this, adapter);

    /// <inheritdoc/>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    /// <summary>Waits for what is being answered, and gives everything back.</summary>
    public async ValueTask DisposeAsync()
    {
        if (disposed) return;
        disposed = true;
        Directory?.Dispose();
        await Scheduler.DisposeAsync().ConfigureAwait(false);
        Adapters.Dispose();
        Model.Dispose();
        device.Dispose();
    }
}
