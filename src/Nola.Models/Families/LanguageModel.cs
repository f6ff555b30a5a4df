using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A language model of any family: the network with its weights, its name, its identity and its tokenizer. A frozen model (the
/// default) keeps its weights packed and trains only adapters, which travel with each batch; with <c>trainable</c> every weight
/// is an ordinary parameter.
/// </summary>
public sealed partial class LanguageModel : IModel
{
    private readonly ModelConfig made;
    private readonly ILanguageNetwork network;
    private readonly ModelBuilder parts;

    private LanguageModel(ModelConfig config, Device device, bool trainable, WeightFormat format, string source, IWeightSource weights)
    {
        (made, Shape, Device, Trainable, Source) = (config, config.Shape, device, trainable, source);
        parts = new ModelBuilder(device, trainable, format, weights);
        try
        {
            network = config.Build(parts);
        }
        catch
        {
            // A weight that cannot be read leaves nothing of those before it.
            parts.DisposeParts();
            throw;
        }
        finally
        {
            // What the weights were read into is not needed again.
            device.Pool.Trim();
        }
    }

    /// <summary>
    /// What its <c>config.json</c> says; the head is no longer the token embedding's once an adapter on one of the two was merged.
    /// </summary>
    public ModelConfig Config => parts.IsUntied ? made.Untied : made;

    /// <summary>The sizes that training and decoding need.</summary>
    public LanguageShape Shape { get; }

    /// <inheritdoc/>
    public Device Device { get; }

    /// <inheritdoc/>
    public bool Trainable { get; }

    /// <inheritdoc/>
    public string Source { get; }

    /// <summary>
    /// A digest of the configuration and of every value of every weight as it is now: what an adapter file names as its base.
    /// It is the same however the checkpoint is cut into files, and whatever the format of the frozen weights. Asking costs
    /// little when the model is frozen, and a pass over all weights when it is trainable.
    /// </summary>
    public string Identity => ModelIdentity.Of(Config.Description, Digests());

    /// <inheritdoc/>
    string IModel.SampledIdentity => ModelIdentity.Sampled(Config.SampledDescription, Digests());

    /// <inheritdoc/>
    string IModel.Prefix => Config.Family.Prefix;

    /// <inheritdoc/>
    IEnumerable<string> IModel.Modules => parts.Weights.Select(weight => weight.Name[..weight.Name.LastIndexOf('.')]).Distinct();

    /// <inheritdoc/>
    public IReadOnlyList<AdaptableMap> AdaptableMaps => parts.AdaptableMaps;

    /// <inheritdoc/>
    public IReadOnlyList<AdaptableLayer> AdaptableLayers => parts.Layers;

    /// <inheritdoc/>
    IReadOnlyList<AdaptableLayer> IModel.Heads => [network.Head];

    /// <inheritdoc/>
    public IReadOnlyList<Parameter> Parameters => parts.Parameters;

    /// <summary>The format of its maps that are kept in 8 or 4 bits; null when none is.</summary>
    internal WeightFormat? Codes => Maps.FirstOrDefault(map => map.Frozen is { } frozen && frozen.Format.IsQuantized())?.Frozen!.Format;

    /// <summary>All linear maps, block by block.</summary>
    public IReadOnlyList<LinearMap> Maps => parts.Maps;

    /// <summary>The linear map called <paramref name="name"/>, for example <c>h.3.attn.c_attn</c>.</summary>
    /// <exception cref="ArgumentException">There is no such map.</exception>
    public LinearMap Map(string name) => Maps.FirstOrDefault(map => map.Name == name)
        ?? throw new ArgumentException($"Map: the model has no linear map '{name}'; its maps are {Maps[0].Name} … {Maps[^1].Name}.");

    /// <inheritdoc/>
    public Variable Loss(Tape tape, StreamTensors batch, float labelSmoothing, float scale, Tensor? losses = null)
    {
        Variable rows = tape.Scope(() => Ops.GatherRows(Hidden(tape, batch), batch.LossPositions)); // (P, C)
        return network.Head.Loss(rows, batch, labelSmoothing, scale, losses);
    }

    /// <summary>scale · Σ of the losses of a part of what a pass has read, a scalar on the tape.</summary>
    /// <param name="hidden">What <see cref="Hidden(Tape, StreamTensors)"/> gave for all. (N, C)</param>
    /// <param name="rows">The part's loss positions among all. (P)</param>
    /// <param name="part">The part alone.</param>
    /// <param name="labelSmoothing">ε over all classes.</param>
    /// <param name="scale">For example 1 / number of loss positions of the part.</param>
    internal Variable Loss(Variable hidden, Tensor rows, StreamTensors part, float labelSmoothing, float scale) =>
        network.Head.Loss(Ops.GatherRows(hidden, rows), part, labelSmoothing, scale, null);

    /// <summary>The residual stream after the last norm. (N, C)</summary>
    /// <param name="tape">The step.</param>
    /// <param name="batch">The token stream, whose sequences may name adapters.</param>
    public Variable Hidden(Tape tape, StreamTensors batch) =>
        network.Hidden(tape, batch, (_, qkv) => Ops.Attention(qkv, batch.Starts, Shape.Attention));

    /// <summary>The same with another attention, for example to what a cache holds. (N, C)</summary>
    internal Variable Hidden(Tape tape, StreamTensors batch, Attend attend) => network.Hidden(tape, batch, attend);

    /// <summary>logits = the head of the hidden states of some rows of the batch. x: (N, C), logits: (N, V).</summary>
    internal void Head(Variable x, StreamTensors batch, StreamRows rows, Tensor logits) => network.Head.Logits(x, batch, rows, logits);

    /// <summary>Logits of every position of one sequence. (T, V)</summary>
    /// <param name="ids">Its tokens.</param>
    /// <param name="adapter">What it is read with; null for the base model alone.</param>
    /// <exception cref="NolaException">The sequence is longer than the model reads.</exception>
    public float[] Logits(ReadOnlySpan<int> ids, IAdapter? adapter = null)
    {
        CheckLength(ids.Length);
        using StreamTensors batch = new(Device, TokenStreams.Single(ids).With(adapter));
        using Tape tape = new(Device, record: false);
        using Tensor logits = Device.Empty([ids.Length, Shape.Vocabulary]);
        Head(Hidden(tape, batch), batch, StreamRows.Tokens, logits);
        return logits.ToArray();
    }

    /// <inheritdoc/>
    public void Dispose() => parts.DisposeParts();

    /// <summary>Refuses more tokens than the model reads.</summary>
    internal void CheckLength(int length)
    {
        if (length > Shape.Positions)
            throw new NolaException($"The sequence has {length} tokens; this model reads at most {Shape.Positions}.");
    }

    /// <summary>Every weight by its checkpoint name, read when asked for.</summary>
    internal IEnumerable<(string Name, Shape Shape, Func<float[]> Values)> Weights() =>
        parts.Weights.Select(weight => (weight.Name, weight.Shape, weight.Values));

    // Frozen weights only change by being replaced, so that theirs are kept; the small parameters may have been written to.
    private IEnumerable<(string Name, WeightDigest Digest)> Digests() => parts.Weights.Select(weight => (weight.Name, weight.Digest()));
}
