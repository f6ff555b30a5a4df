using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Settings of a <see cref="LoraAdapter"/>.</summary>
public sealed record LoraOptions
{
    /// <summary>r, 4 as published for GPT-2.</summary>
    public int Rank { get; init; } = 4;

    /// <summary>The output is scaled by alpha / r; 32 as published for GPT-2.</summary>
    public float Alpha { get; init; } = 32;

    /// <summary>Which linear maps, see <see cref="AdapterTargets"/>.</summary>
    public IReadOnlyList<string> Targets { get; init; } = AdapterTargets.Default;

    /// <summary>Seed of A's initial values.</summary>
    public ulong Seed { get; init; } = 42;
}

/// <summary>
/// LoRA (Hu et al. 2022, arXiv 2106.09685): y += (alpha / r) · (x · A) · B with A and B trained. A starts uniform in
/// ±1/√in (the Kaiming form of the authors' code), B at zero, so the first output is the base model's.
/// </summary>
public sealed class LoraAdapter : Adapter
{
    private LoraAdapter(Gpt2 model, LoraOptions options) : base(model, options.Rank, options.Alpha, options.Targets)
    {
        Parameters = [.. FactorSets.SelectMany(f => (Parameter[])[f.A, f.B])];
        try
        {
            foreach (Factors f in FactorSets)
                f.A.Value.Device.Upload(InitialFactors.Uniform(options.Seed, f.Kind, f.Layers, f.In, f.Rank), f.A.Value);
        }
        catch
        {
            Dispose();
            throw;
        }
        model.Adapter = this;
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Parameter> Parameters { get; }

    /// <summary>Puts a new adapter on a frozen model.</summary>
    /// <exception cref="NolaException">A setting is out of range, or the model has an adapter.</exception>
    public static LoraAdapter Attach(Gpt2 model, LoraOptions? options = null) => new(model, options ?? new());

    /// <inheritdoc/>
    public override void BeginStep() { }

    /// <inheritdoc/>
    public override void EndStep() { }
}
