using Nola.Autograd;

namespace Nola.Models;

/// <summary>What an adapter holds for some layers: what is trained, and from it what is added to each of them.</summary>
public abstract class DeltaStack : IDisposable
{
    /// <summary>The layers that it adds to; one may be there several times, with other columns.</summary>
    public abstract IReadOnlyList<AdaptableLayer> Layers { get; }

    /// <summary>What is trained, in the order of the file.</summary>
    public abstract IReadOnlyList<Parameter> Parameters { get; }

    /// <summary>What is added to one of the layers.</summary>
    /// <param name="tape">The step that reads the tensors.</param>
    /// <param name="row">Which of the layers.</param>
    public abstract IEnumerable<Delta> On(Tape tape, int row);

    /// <summary>Makes anew what follows from the parameters, after whoever changed them.</summary>
    public virtual void Update() { }

    /// <summary>Brings gradients of what follows from the parameters to the parameters, after the batches of an optimizer step.</summary>
    public virtual void CollectGradients() { }

    /// <summary>
    /// <see cref="Update"/> of stacks of many adapters of one form, of which this is the first; what all have in common is made once.
    /// </summary>
    internal virtual void UpdateTogether(IReadOnlyList<DeltaStack> stacks)
    {
        foreach (DeltaStack stack in stacks) stack.Update();
    }

    /// <summary><see cref="CollectGradients"/> of stacks of many adapters of one form that were updated together.</summary>
    internal virtual void CollectTogether(IReadOnlyList<DeltaStack> stacks)
    {
        foreach (DeltaStack stack in stacks) stack.CollectGradients();
    }

    /// <summary>Ends training: gives back all but what <see cref="On"/> needs, which nothing changes any more.</summary>
    public abstract void Freeze();

    /// <summary>Gives the memory back.</summary>
    public void Dispose()
    {
        Release();
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the memory back.</summary>
    protected abstract void Release();
}

/// <summary>What a method holds for the adapted maps of one kind: usually tensors whose first dimension is the layer.</summary>
/// <param name="group">The maps.</param>
public abstract class MapStack(MapGroup group) : DeltaStack
{
    /// <summary>The maps that it is for.</summary>
    public MapGroup Group => group;

    /// <inheritdoc/>
    public override IReadOnlyList<AdaptableLayer> Layers { get; } = [.. group.Maps.Select(map => map.Host)];

    /// <summary>What is added to one of the maps as a low-rank product, for files of other tools; null where it is none.</summary>
    internal virtual LowRankFactors? Factors(int row) => null;
}

/// <summary>A low-rank product on the host: (alpha / rank) · A · B.</summary>
/// <param name="A">(in, rank), row-major.</param>
/// <param name="B">(rank, out), row-major.</param>
/// <param name="Rank">The rank.</param>
/// <param name="Alpha">Numerator of the scale.</param>
internal sealed record LowRankFactors(float[] A, float[] B, int Rank, float Alpha);
