using Nola.Models;
using Nola.Tensors;

namespace Nola.Fuzz;

/// <summary>What one thread of a campaign works with: a device, small models that are made once, and directories of its own.</summary>
internal sealed class Bench : IDisposable
{
    /// <summary>Sizes of the model that adapters are for.</summary>
    public static readonly Gpt2Config Sizes = new(2, 3, 24, 61, 40);

    private LanguageModel? model;

    /// <summary>Makes the device and the directories.</summary>
    /// <param name="root">A directory of its own.</param>
    public Bench(string root)
    {
        Root = root;
        Directory.CreateDirectory(Output);
    }

    /// <summary>Everything that is written.</summary>
    public string Root { get; }

    /// <summary>What is saved again; empty before every attempt.</summary>
    public string Output => Path.Combine(Root, "saved");

    /// <summary>With one thread, so that a campaign has as many as it was given.</summary>
    public CpuDevice Device { get; } = new(1);

    /// <summary>A frozen model, which no attempt changes.</summary>
    public LanguageModel Model => model ??= LanguageModel.Create(Sizes, Device, 3, trainable: false);

    /// <summary>
    /// Whether the attempt's files were accepted: what is said from there on need not name them.
    /// </summary>
    public bool Accepted { get; set; }

    /// <summary>A path for what is saved again.</summary>
    public string Saved(string name) => Path.Combine(Output, name);

    /// <inheritdoc/>
    public void Dispose()
    {
        model?.Dispose();
        Device.Dispose();
    }
}
