using System.Runtime.InteropServices;
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
    private readonly List<LinearMap> maps = [], classifiers = [];
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
        QuantizedMatrix? codes = Codes(name, inputs, outputs, transposed, out WeightDigest? digest);
        Tensor? weight = codes is not null && !trainable ? null : Keep(Whole(codes, name, inputs, outputs, transposed, ref digest));
        Tensor? offset = bias ? Keep(weights.Read(name + ".bias", [outputs], out _)) : null;
        LinearModule module = new(name, 0, outputs, digest);
        return Add(weight is null
            ? new LinearMap(device, name, [module], [codes!], offset, transposed)
            : new LinearMap(name, [module], weight, offset, transposed, trainable, format));
    }

    /// <summary>
    /// Several modules of one input as one linear map, side by side in its columns: queries, keys and values, or gate and up. The
    /// checkpoint has the weight of each as (out, in), as PyTorch's Linear does, and keeps them apart, as files and adapters do.
    /// </summary>
    /// <param name="name">A name for the whole, which is no module of the checkpoint.</param>
    /// <param name="inputs">Number of inputs.</param>
    /// <param name="modules">The checkpoint's name of each without its suffix, and its number of outputs.</param>
    /// <param name="bias">Whether each has a bias.</param>
    /// <exception cref="NolaException">The checkpoint has no such tensors of these sizes.</exception>
    public LinearMap Fused(string name, int inputs, IReadOnlyList<(string Name, int Outputs)> modules, bool bias)
    {
        int outputs = modules.Sum(module => module.Outputs);
        Tensor? offset = bias ? Keep(device.Empty([outputs])) : null;
        List<LinearModule> parts = [];
        List<QuantizedMatrix?> codes = [];
        int column = 0;
        foreach ((string module, int width) in modules)
        {
            codes.Add(Codes(module, inputs, width, transposed: true, out WeightDigest? digest));
            if (offset is not null) ReadInto(offset, column, module + ".bias", [width]);
            parts.Add(new(module, column, width, digest));
            column += width;
        }
        if (!trainable && Alike(codes) is { } alike) return Add(new LinearMap(device, name, parts, alike, offset, transposed: true));
        Tensor weight = Keep(device.Empty([outputs, inputs]));
        foreach ((LinearModule part, QuantizedMatrix? own) in parts.Zip(codes)) part.Digest = Fill(weight, part, own, inputs);
        // What codes stand for is not rounded again.
        WeightFormat kept = codes.Any(own => own is not null) ? WeightFormat.Float32 : format;
        return Add(new LinearMap(name, parts, weight, offset, transposed: true, trainable, kept));
    }

    /// <summary>
    /// The map of an image's patches: a convolution <c>name.weight</c> whose steps are as wide as its kernel, which is a linear map of
    /// each patch, and <c>name.bias</c>.
    /// </summary>
    /// <param name="name">The checkpoint's name without its suffix.</param>
    /// <param name="channels">Colors of a pixel.</param>
    /// <param name="side">Pixels of a patch's side.</param>
    /// <param name="outputs">Number of outputs.</param>
    /// <exception cref="NolaException">The checkpoint has no such tensors of these sizes.</exception>
    public LinearMap Patches(string name, int channels, int side, int outputs)
    {
        Shape stored = [outputs, channels, side, side];
        Tensor weight = Keep(device.Empty([outputs, channels * side * side]));
        WeightDigest? digest = ReadInto(weight, 0, name + ".weight", stored);
        Tensor offset = Keep(weights.Read(name + ".bias", [outputs], out _));
        LinearModule module = new(name, 0, outputs, digest) { Stored = stored };
        return Add(new LinearMap(name, [module], weight, offset, transposed: true, trainable, Exact));
    }

    /// <summary>A classifier: <c>name.weight</c> (classes, channels) and <c>name.bias</c>, of which an adapter may have its own.</summary>
    /// <param name="name">The checkpoint's name without its suffix.</param>
    /// <param name="channels">Number of inputs.</param>
    /// <param name="classes">Number of outputs.</param>
    /// <exception cref="NolaException">The checkpoint has no such tensors of these sizes.</exception>
    public LinearMap Classifier(string name, int channels, int classes)
    {
        Tensor weight = Keep(weights.Read(name + ".weight", [classes, channels], out WeightDigest? digest));
        Tensor offset = Keep(weights.Read(name + ".bias", [classes], out _));
        LinearModule module = new(name, 0, classes, digest);
        LinearMap map = new(name, [module], weight, offset, transposed: true, trainable, Exact) { IsClassifier = true };
        classifiers.Add(map);
        return Add(map);
    }

    /// <summary>The table of angles that <see cref="Ops.Rotary"/> reads, which is no weight.</summary>
    /// <param name="frequencies">How fast the pairs of a head's columns turn.</param>
    /// <param name="positions">Most tokens of a sequence.</param>
    public Tensor Angles(RotaryFrequencies frequencies, int positions) => Keep(frequencies.Angles(device, positions));

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
        Shape shape = [vocabulary, channels];
        return Add(trainable ? new TokenTable(name, Keep(weights.Read(name, shape, out _))) : FrozenTable(name, shape));
    }

    /// <summary>The token embedding, on a table <c>name.weight</c>. (V, C)</summary>
    /// <param name="name">The checkpoint's name without its suffix.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="channels">C.</param>
    /// <exception cref="NolaException">The checkpoint has no such tensor of that shape.</exception>
    public TokenEmbedding Embedding(string name, int vocabulary, int channels)
    {
        TokenEmbedding embedding = new(name, Table(name + ".weight", vocabulary, channels));
        layers.Add(embedding);
        return embedding;
    }

    /// <summary>The head, on a table of its own, <c>name.weight</c>. (V, C)</summary>
    /// <param name="name">The checkpoint's name without its suffix.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="channels">C.</param>
    /// <exception cref="NolaException">The checkpoint has no such tensor of that shape.</exception>
    public TokenHead Head(string name, int vocabulary, int channels) =>
        Add(new TokenHead(name, Table(name + ".weight", vocabulary, channels)));

    /// <summary>The head that is the token embedding too.</summary>
    /// <param name="name">What the checkpoint would call it, without a suffix, had it a table of its own.</param>
    /// <param name="embedding">The embedding.</param>
    public TokenHead TiedHead(string name, TokenEmbedding embedding)
    {
        return Add(new TokenHead(name, embedding, Untied));

        TokenTable Untied()
        {
            TokenTable own = Add(embedding.Table.Copy(name + ".weight"));
            IsUntied = true;
            return own;
        }
    }

    /// <summary>Lists a module of the checkpoint, <c>block.kind</c>, as a map that an adapter can be on.</summary>
    /// <param name="block">The name of the block, for example <c>h.3</c>.</param>
    /// <param name="kind">The map's name inside the block, for example <c>attn.c_attn</c>.</param>
    /// <param name="layer">Number of the block.</param>
    /// <param name="stream">The kind's number in the random bases (docs/basis.md). It never changes.</param>
    /// <param name="map">The linear map that it is, or the fused one that it lies on.</param>
    /// <param name="aliases">What it is called in other layouts, inside the block.</param>
    public void Adaptable(string block, string kind, int layer, int stream, LinearMap map, params IReadOnlyList<string> aliases)
    {
        LinearModule module = map.Modules.First(module => module.Name == $"{block}.{kind}");
        adaptable.Add(new($"{block}.{kind}", kind, layer, stream, map, map.In, module.Column, module.Out, IsModule: true)
        {
            Aliases = [.. aliases.Select(alias => $"{block}.{alias}")],
        });
    }

    /// <summary>Lists the token embedding as a map that an adapter can be on, when somebody names it.</summary>
    /// <param name="kind">Its name, or the end of it after a dot.</param>
    /// <param name="stream">The kind's number in the random bases (docs/basis.md). It never changes.</param>
    /// <param name="embedding">The embedding.</param>
    public void Adaptable(string kind, int stream, TokenEmbedding embedding)
    {
        Shape table = embedding.Table.Shape;
        adaptable.Add(new(embedding.Name, kind, 0, stream, embedding, table.Rows, 0, table.Columns, IsModule: true));
    }

    /// <summary>Lists the head as a map that an adapter can be on, when somebody names it.</summary>
    /// <param name="stream">The kind's number in the random bases (docs/basis.md). It never changes.</param>
    /// <param name="head">The head.</param>
    public void Adaptable(int stream, TokenHead head)
    {
        Shape table = head.Table.Shape;
        adaptable.Add(new(head.Name, head.Name, 0, stream, head, table.Columns, 0, table.Rows, IsModule: true));
    }

    /// <summary>Lists some columns of a linear map as a map that an adapter can be on, for example a third of <c>c_attn</c>.</summary>
    /// <param name="block">The name of the block, for example <c>h.3</c>.</param>
    /// <param name="kind">The map's name inside the block, for example <c>attn.q</c>.</param>
    /// <param name="layer">Number of the block.</param>
    /// <param name="stream">The kind's number in the random bases (docs/basis.md). It never changes.</param>
    /// <param name="map">The linear map that it lies on.</param>
    /// <param name="column">The first column.</param>
    /// <param name="width">The number of columns.</param>
    /// <param name="isModule">Whether the checkpoint has a module of that name.</param>
    public void Adaptable(string block, string kind, int layer, int stream, LinearMap map, int column, int width, bool isModule) =>
        adaptable.Add(new($"{block}.{kind}", kind, layer, stream, map, map.In, column, width, isModule));

    /// <summary>Every weight, in the order in which it was asked for.</summary>
    internal IReadOnlyList<Weight> Weights => made;

    internal IReadOnlyList<Parameter> Parameters => parameters;

    internal IReadOnlyList<LinearMap> Maps => maps;

    internal IReadOnlyList<LinearMap> Classifiers => classifiers;

    internal IReadOnlyList<AdaptableLayer> Layers => layers;

    internal IReadOnlyList<AdaptableMap> AdaptableMaps => adaptable;

    /// <summary>Whether a head that was the token embedding has a table of its own now.</summary>
    internal bool IsUntied { get; private set; }

    /// <summary>Disposes everything that was made.</summary>
    internal void DisposeParts()
    {
        foreach (IDisposable part in parts) part.Dispose();
    }

    // What is kept of small maps outside of the blocks, which are never in codes.
    private WeightFormat Exact => format.IsQuantized() ? WeightFormat.Float32 : format;

    private TokenTable Add(TokenTable table)
    {
        Keep(table);
        made.Add(new(table.Name, table.Shape, table.Values, table.Digest));
        if (table.Parameter is { } parameter) parameters.Add(parameter);
        return table;
    }

    private TokenHead Add(TokenHead head)
    {
        layers.Add(head);
        return head;
    }

    private LinearMap Add(LinearMap map)
    {
        Keep(map);
        maps.Add(map);
        layers.Add(map);
        if (map.Weight is not null) parameters.Add(map.Weight);
        if (map.Bias is not null) parameters.Add(map.Bias);
        foreach (LinearModule module in map.Modules)
        {
            made.Add(new(module.Name + ".weight", map.StoredShape(module), () => map.StoredWeight(module), () => map.Digest(module)));
            if (map.Biases.FirstOrDefault(bias => bias.Module == module.Name) is { } bias)
                made.Add(new(bias.Name, [bias.Out], bias.Values, () => WeightDigest.Of([bias.Out], bias.Values())));
        }
        return map;
    }

    // In 8 or 4 bits no tables are, whose rows are read one by one and which a head's logits depend on most: they stay exactly what
    // the checkpoint has, in one copy.
    private TokenTable FrozenTable(string name, Shape shape)
    {
        WeightFormat kept = !format.IsQuantized() ? format : weights.IsBFloat16(name) ? WeightFormat.BFloat16 : WeightFormat.Float32;
        using FrozenRows rows = device.FreezeRows(shape[1], shape[0], kept, compact: format.IsQuantized());
        weights.Stream(name, shape, rows.Add, out WeightDigest? digest);
        return new TokenTable(name, device, rows.Finish(), digest);
    }

    // A module's weight in codes: as the checkpoint has it, or made of its values while they are read. Null for a whole one.
    private QuantizedMatrix? Codes(string module, int inputs, int outputs, bool transposed, out WeightDigest? digest)
    {
        digest = null;
        string name = module + ".weight";
        if (weights.Quantized(name, outputs, inputs) is { } stored)
        {
            if (transposed) digest = BitsAndBytes.Digest(stored);
            return stored;
        }
        if (trainable || !format.IsQuantized()) return null;
        MatrixQuantizer quantizer = new(format, outputs, inputs);
        if (transposed)
        {
            weights.Stream(name, [outputs, inputs], quantizer.Add, out digest);
            return quantizer.Finish();
        }
        List<float> values = new(inputs * outputs);
        weights.Stream(name, [inputs, outputs], piece => values.AddRange(piece), out digest);
        quantizer.Add(Turned(CollectionsMarshal.AsSpan(values), inputs, outputs));
        return quantizer.Finish();
    }

    // A module's whole weight as the checkpoint has it.
    private Tensor Whole(QuantizedMatrix? codes, string module, int inputs, int outputs, bool transposed, ref WeightDigest? digest)
    {
        Shape shape = transposed ? [outputs, inputs] : [inputs, outputs];
        if (codes is null) return weights.Read(module + ".weight", shape, out digest);
        float[] values = codes.Values();
        return device.From(transposed ? values : Turned(values, outputs, inputs), shape);
    }

    // Matrices that can lie side by side: all in codes, of one format.
    private static QuantizedMatrix[]? Alike(List<QuantizedMatrix?> codes)
    {
        if (codes.Contains(null)) return null;
        QuantizedMatrix[] all = [.. codes.Select(own => own!)];
        if (all.Any(own => own.Nested is null)) all = [.. all.Select(own => own.WithoutNesting())];
        return all.All(own => own.Format == all[0].Format) ? all : null;
    }

    // A module's weight as its rows of a fused one. (out, in)
    private WeightDigest? Fill(Tensor whole, LinearModule part, QuantizedMatrix? codes, int inputs)
    {
        if (codes is null) return ReadInto(whole, part.Column * inputs, part.Name + ".weight", [part.Out, inputs]);
        device.UploadAt(codes.Values(), whole, part.Column * inputs);
        return part.Digest;
    }

    private static float[] Turned(ReadOnlySpan<float> matrix, int rows, int columns)
    {
        float[] turned = new float[matrix.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) turned[j * rows + i] = matrix[i * columns + j];
        return turned;
    }

    // A module's tensor as a stretch of the whole's elements.
    private WeightDigest? ReadInto(Tensor whole, int start, string name, Shape shape)
    {
        using Tensor part = weights.Read(name, shape, out WeightDigest? digest);
        device.CopyColumns(Flat(part, 0, shape.Length), Flat(whole, start, shape.Length));
        return digest;

        static Matrix Flat(Tensor tensor, int start, int length) => new(tensor, 1, length, start, length);
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
