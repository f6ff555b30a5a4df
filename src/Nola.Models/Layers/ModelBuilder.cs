using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Makes the parts of a model from its weights, each asked for by its checkpoint name, and keeps them in that order. A family asks
/// for what it is made of and keeps what it gets; the model that holds it disposes, saves and identifies them.
/// </summary>
public sealed class ModelBuilder
{
    private readonly Device device;
    private readonly bool trainable;
    private readonly WeightFormat format;
    private readonly IWeightSource weights;
    private readonly List<IDisposable> parts = [];
    private readonly List<Weight> made = [];
    private readonly List<Parameter> parameters = [];
    private readonly List<LinearMap> maps = [];
    private readonly List<AdaptableLayer> layers = [];
    private readonly List<AdaptableMap> adaptable = [];

    internal ModelBuilder(Device device, bool trainable, WeightFormat format, IWeightSource weights) =>
        (this.device, this.trainable, this.format, this.weights) = (device, trainable, format, weights);

    /// <summary>A small weight: a norm's scale, a bias, a table of positions.</summary>
    /// <param name="name">The checkpoint's name, without a prefix.</param>
    /// <param name="shape">What the configuration makes it.</param>
    /// <exception cref="NolaException">The checkpoint has no such tensor of that shape.</exception>
    public Parameter Parameter(string name, Shape shape)
    {
        Parameter parameter = Keep(new Parameter(name, weights.Read(name, shape, out _), trainable));
        parameters.Add(parameter);
        made.Add(new(name, shape, parameter.Value.ToArray, () => WeightDigest.Of(shape, parameter.Value.ToArray())));
        return parameter;
    }

    /// <summary>A linear map: <c>name.weight</c>, and <c>name.bias</c> if it has one.</summary>
    /// <param name="name">The checkpoint's name without its suffix.</param>
    /// <param name="inputs">Number of inputs.</param>
    /// <param name="outputs">Number of outputs.</param>
    /// <param name="bias">Whether it has a bias.</param>
    /// <param name="transposed">Whether the checkpoint has the weight as (out, in), as PyTorch's Linear does.</param>
    /// <exception cref="NolaException">The checkpoint has no such tensors of these sizes.</exception>
    public LinearMap Linear(string name, int inputs, int outputs, bool bias = true, bool transposed = false)
    {
        Shape shape = transposed ? [outputs, inputs] : [inputs, outputs];
        Tensor weight = Keep(weights.Read(name + ".weight", shape, out WeightDigest? digest));
        Tensor? offset = bias ? Keep(weights.Read(name + ".bias", [outputs], out _)) : null;
        LinearMap map = Keep(new LinearMap(name, weight, offset, transposed, trainable, format, digest));
        maps.Add(map);
        layers.Add(map);
        made.Add(new(map.WeightName, shape, map.StoredWeight, map.Digest));
        if (map.Weight is not null) parameters.Add(map.Weight);
        if (map.Bias is not { } b) return map;
        parameters.Add(b);
        made.Add(new(b.Name, b.Shape, b.Value.ToArray, () => WeightDigest.Of(b.Shape, b.Value.ToArray())));
        return map;
    }

    /// <summary>A layer norm: <c>name.weight</c> and <c>name.bias</c>.</summary>
    /// <param name="name">The checkpoint's name without its suffix.</param>
    /// <param name="channels">C.</param>
    /// <param name="epsilon">What is added to the variance.</param>
    /// <exception cref="NolaException">The checkpoint has no such tensors of that size.</exception>
    public LayerNorm LayerNorm(string name, int channels, float epsilon)
    {
        LayerNorm norm = new(name, Parameter(name + ".weight", [channels]), Parameter(name + ".bias", [channels]), epsilon);
        layers.Add(norm);
        return norm;
    }

    /// <summary>A token embedding or a head. (V, C)</summary>
    /// <param name="name">The checkpoint's name, without a prefix.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="channels">C.</param>
    /// <exception cref="NolaException">The checkpoint has no such tensor of that shape.</exception>
    public TokenTable Table(string name, int vocabulary, int channels)
    {
        Tensor values = Keep(weights.Read(name, [vocabulary, channels], out WeightDigest? digest));
        TokenTable table = Keep(new TokenTable(name, values, trainable, format, digest));
        made.Add(new(name, table.Shape, table.Values, table.Digest));
        if (table.Parameter is { } parameter) parameters.Add(parameter);
        return table;
    }

    /// <summary>Lists a linear map as one that an adapter can be on.</summary>
    /// <param name="block">The name of the block, for example <c>h.3</c>.</param>
    /// <param name="kind">The map's name inside the block, for example <c>attn.q</c>.</param>
    /// <param name="layer">Number of the block.</param>
    /// <param name="stream">The kind's number in the random bases (docs/basis.md). It never changes.</param>
    /// <param name="map">The linear map.</param>
    public void Adaptable(string block, string kind, int layer, int stream, LinearMap map) =>
        adaptable.Add(new($"{block}.{kind}", kind, layer, stream, map, 0, map.Out, true));

    /// <summary>Lists some columns of a linear map, which is a fused one, as a map that an adapter can be on.</summary>
    /// <param name="block">The name of the block, for example <c>h.3</c>.</param>
    /// <param name="kind">The map's name inside the block, for example <c>attn.q</c>.</param>
    /// <param name="layer">Number of the block.</param>
    /// <param name="stream">The kind's number in the random bases (docs/basis.md). It never changes.</param>
    /// <param name="map">The fused map.</param>
    /// <param name="column">The first column.</param>
    /// <param name="width">The number of columns.</param>
    /// <param name="isModule">Whether the checkpoint has a module of that name.</param>
    public void Adaptable(string block, string kind, int layer, int stream, LinearMap map, int column, int width, bool isModule) =>
        adaptable.Add(new($"{block}.{kind}", kind, layer, stream, map, column, width, isModule));

    /// <summary>Every weight, in the order in which it was asked for.</summary>
    internal IReadOnlyList<Weight> Weights => made;

    internal IReadOnlyList<Parameter> Parameters => parameters;

    internal IReadOnlyList<LinearMap> Maps => maps;

    internal IReadOnlyList<AdaptableLayer> Layers => layers;

    internal IReadOnlyList<AdaptableMap> AdaptableMaps => adaptable;

    /// <summary>Disposes everything that was made.</summary>
    internal void DisposeParts()
    {
        foreach (IDisposable part in parts) part.Dispose();
    }

    // A part takes tensors over, and disposing them again does nothing.
    private T Keep<T>(T part) where T : IDisposable
    {
        parts.Add(part);
        return part;
    }

    /// <summary>A weight as the checkpoint has it, read when it is asked for.</summary>
    internal sealed record Weight(string Name, Shape Shape, Func<float[]> Values, Func<WeightDigest> Digest);
}
