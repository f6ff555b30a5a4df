using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// GPT-2 (Radford et al. 2019), the whole model from top to bottom. Sizes in the margins: N tokens of all sequences
/// laid end to end, C channels, H heads of D = C/H, V tokens of vocabulary, P positions whose loss counts.
/// Parameter names are the checkpoint's. A frozen model (the default) keeps its weights packed and trains only an
/// <see cref="Adapter"/>; with <c>trainable</c> every weight is an ordinary parameter.
/// </summary>
public sealed partial class Gpt2 : IDisposable
{
    private readonly Block[] blocks;
    private readonly Parameter wpe, lnFWeight, lnFBias;
    private readonly Parameter? wte, lmHead;                                      // (V, C), when trainable
    private readonly FrozenMatrix? embedding, head;                               // (C, V), when frozen; one matrix when tied
    private WeightDigest? embeddingDigest, headDigest;                            // of the values that they were made of

    /// <summary>Builds the model from its weights, each asked for by its checkpoint name.</summary>
    internal Gpt2(Gpt2Config config, Device device, bool trainable, DType storage, string source, IWeightSource weights)
    {
        (Config, Device, Trainable, Source) = (config, device, trainable, source);
        int c = config.Channels;
        List<IDisposable> made = [];
        try
        {
            if (trainable)
            {
                wte = Vector("wte.weight", [config.Vocabulary, c]);
                if (!config.TiedHead) lmHead = Vector("lm_head.weight", [config.Vocabulary, c]);
            }
            else
            {
                embedding = FreezeTable("wte.weight", out embeddingDigest);
                head = config.TiedHead ? embedding : FreezeTable("lm_head.weight", out headDigest);
            }
            wpe = Vector("wpe.weight", [config.Positions, c]);
            blocks = new Block[config.Layers];
            for (int l = 0; l < config.Layers; l++)
            {
                string h = $"h.{l}.";
                blocks[l] = new Block(
                    Vector(h + "ln_1.weight", [c]), Vector(h + "ln_1.bias", [c]),
                    Map(h + "attn.c_attn", c, 3 * c), Map(h + "attn.c_proj", c, c),
                    Vector(h + "ln_2.weight", [c]), Vector(h + "ln_2.bias", [c]),
                    Map(h + "mlp.c_fc", c, config.Inner), Map(h + "mlp.c_proj", config.Inner, c));
            }
            lnFWeight = Vector("ln_f.weight", [c]);
            lnFBias = Vector("ln_f.bias", [c]);
        }
        catch
        {
            // A weight that cannot be read leaves nothing of those before it.
            foreach (IDisposable part in made) part.Dispose();
            throw;
        }
        finally
        {
            // What the weights were read into is not needed again.
            device.Pool.Trim();
        }

        Parameter Vector(string name, Shape shape) => Made(new Parameter(name, weights.Read(name, shape, out _), trainable));

        LinearMap Map(string name, int inputs, int outputs)
        {
            Tensor weight = Made(weights.Read(name + ".weight", [inputs, outputs], out WeightDigest? digest));
            Tensor bias = Made(weights.Read(name + ".bias", [outputs], out _));
            return Made(new LinearMap(name, weight, bias, trainable, storage, digest));
        }

        FrozenMatrix FreezeTable(string name, out WeightDigest? digest)
        {
            using Tensor table = weights.Read(name, [config.Vocabulary, c], out digest);
            return Made(device.Freeze(table, transposed: true, storage));
        }

        T Made<T>(T part) where T : IDisposable
        {
            made.Add(part);
            return part;
        }
    }

    /// <summary>Sizes.</summary>
    public Gpt2Config Config { get; }

    /// <summary>Where the weights are.</summary>
    public Device Device { get; }

    /// <summary>Whether the weights get gradients.</summary>
    public bool Trainable { get; }

    /// <summary>The name or directory it was loaded from.</summary>
    public string Source { get; }

    /// <summary>
    /// A digest of the configuration and of every value of every weight as it is now: what an adapter file names as its base.
    /// It is the same however the checkpoint is cut into files, and whatever the <c>storage</c> of the frozen weights. Asking costs
    /// little when the model is frozen, and a pass over all weights when it is trainable.
    /// </summary>
    public string Identity => ModelIdentity.Of(Config, Digests());

    /// <summary>What is added to the linear maps, if anything.</summary>
    public Adapter? Adapter { get; internal set; }

    /// <summary>The linear map called <paramref name="name"/>, for example <c>h.3.attn.c_attn</c>.</summary>
    /// <exception cref="ArgumentException">There is no such map.</exception>
    public LinearMap Map(string name) => Maps.FirstOrDefault(map => map.Name == name)
        ?? throw new ArgumentException($"Map: the model has no linear map '{name}'; its maps are h.0.attn.c_attn … h.{Config.Layers - 1}.mlp.c_proj.");

    /// <summary>All linear maps, block by block.</summary>
    public IEnumerable<LinearMap> Maps => blocks.SelectMany(block => block.Maps);

    /// <summary>Every weight as a parameter: all of them when the model is trainable, else only the small ones.</summary>
    public IEnumerable<Parameter> Parameters
    {
        get
        {
            if (wte is not null) yield return wte;
            yield return wpe;
            foreach (Block block in blocks)
                foreach (Parameter parameter in block.Parameters)
                    yield return parameter;
            yield return lnFWeight;
            yield return lnFBias;
            if (lmHead is not null) yield return lmHead;
        }
    }

    /// <summary>
    /// scale · Σ of the losses at the stream's loss positions, a scalar on the tape.
    /// </summary>
    /// <param name="tape">The step.</param>
    /// <param name="batch">The token stream.</param>
    /// <param name="labelSmoothing">ε over the whole vocabulary.</param>
    /// <param name="scale">For example 1 / number of loss positions in the whole optimiser step.</param>
    /// <param name="losses">Receives the loss of each position when given. (P)</param>
    public Variable Loss(Tape tape, StreamTensors batch, float labelSmoothing, float scale, Tensor? losses = null)
    {
        Variable rows = tape.Scope(() => Ops.GatherRows(Hidden(tape, batch), batch.LossPositions)); // (P, C)
        if (head is not null) return Ops.HeadCrossEntropy(rows, head, batch.Targets, labelSmoothing, scale, losses);
        return Ops.HeadCrossEntropy(rows, tape.Read(lmHead ?? wte!), batch.Targets, labelSmoothing, scale, losses);
    }

    /// <summary>The residual stream after the final norm. (N, C)</summary>
    public Variable Hidden(Tape tape, StreamTensors batch) =>
        Forward(tape, batch, (l, qkv) => Ops.Attention(qkv, batch.Starts, Config.Attention));

    /// <summary>Logits of every position of one sequence. (T, V)</summary>
    public float[] Logits(ReadOnlySpan<int> ids)
    {
        CheckLength(ids.Length);
        using StreamTensors batch = new(Device, TokenStreams.Single(ids));
        using Tape tape = new(Device, record: false);
        return Head(Hidden(tape, batch)).Value.ToArray();
    }

    /// <summary>
    /// Reads new tokens of each of the cache's sequences and returns the logits after each sequence's last one. (S, V)
    /// </summary>
    public float[] Decode(TokenStream stream, KvCache cache)
    {
        using Tape tape = new(Device, record: false);
        return Decode(tape, stream, cache).Value.ToArray();
    }

    /// <summary>As above, left on the device for as long as the tape.</summary>
    internal Variable Decode(Tape tape, TokenStream stream, KvCache cache)
    {
        CheckDecode(stream, cache);
        int[] past = cache.Lengths.ToArray(), last = [.. stream.Starts.Skip(1).Select(end => end - 1)];
        (int[] lists, int[] listStarts) = cache.Extend(stream);
        using KvCache.Places places = new(Device.From(lists), Device.From(listStarts));
        using StreamTensors batch = new(Device, stream, past);
        using Tensor rows = Device.From(last);
        return Head(Ops.GatherRows(Decode(tape, batch, cache, places), rows));
    }

    /// <summary>Reads one new token of each sequence, all of it from tensors, and writes the logits after them. logits: (N, V).</summary>
    internal void Decode(StreamTensors batch, KvCache cache, KvCache.Places places, Tensor logits)
    {
        using Tape tape = new(Device, record: false);
        WriteLogits(Decode(tape, batch, cache, places), logits);
    }

    /// <summary>What a stream must be for a cache.</summary>
    internal void CheckDecode(TokenStream stream, KvCache cache)
    {
        if (stream.Sequences != cache.Slots) throw new ArgumentException($"Decode: the stream has {stream.Sequences} sequences and the cache {cache.Slots} slots; expected one for each.");
        for (int s = 0; s < stream.Sequences; s++) CheckLength(cache.Lengths[s] + stream.Starts[s + 1] - stream.Starts[s]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        embedding?.Dispose();
        if (!Config.TiedHead) head?.Dispose();
        foreach (Block block in blocks) block.Dispose();
        foreach (Parameter parameter in Parameters) parameter.Dispose();
    }

    private Variable Forward(Tape tape, StreamTensors batch, Func<int, Variable, Variable> attend)
    {
        Variable x = tape.Scope(() => Embed(tape, batch));                        // (N, C)
        for (int i = 0; i < blocks.Length; i++)
        {
            int l = i;
            x = tape.Block(x, input => blocks[l].Forward(input, this, l, attend)); // (N, C)
        }
        return Ops.LayerNorm(x, tape.Read(lnFWeight), tape.Read(lnFBias), Config.LayerNormEpsilon);
    }

    private Variable Embed(Tape tape, StreamTensors batch)
    {
        Variable tokens = embedding is not null                                   // (N, C)
            ? Ops.GatherRows(tape, embedding, batch.Ids)
            : Ops.GatherRows(tape.Read(wte!), batch.Ids);
        return tokens + Ops.GatherRows(tape.Read(wpe), batch.Positions);          // (N, C)
    }

    private Variable Decode(Tape tape, StreamTensors batch, KvCache cache, KvCache.Places places) =>
        Forward(tape, batch, (l, qkv) => cache.Attend(l, qkv, batch.Starts, places));

    private Variable Head(Variable x)                                             // (N, C) → (N, V)
    {
        Variable logits = x.Tape.New([x.Shape.Rows, Config.Vocabulary]);
        WriteLogits(x, logits.Value);
        return logits;
    }

    private void WriteLogits(Variable x, Tensor logits)
    {
        if (head is not null) Device.MatMul(x.Value, head, null, logits);
        else Device.MatMul(x.Value, false, (lmHead ?? wte!).Value, true, logits);
    }

    private void CheckLength(int length)
    {
        if (length > Config.Positions)
            throw new NolaException($"The sequence has {length} tokens; this model reads at most {Config.Positions}.");
    }

    /// <summary>x + attention(ln_1 x), then + mlp(ln_2 x).</summary>
    private sealed record Block(
        Parameter Ln1Weight, Parameter Ln1Bias, LinearMap CAttn, LinearMap CProj,
        Parameter Ln2Weight, Parameter Ln2Bias, LinearMap CFc, LinearMap MlpProj) : IDisposable
    {
        public IEnumerable<LinearMap> Maps => [CAttn, CProj, CFc, MlpProj];

        public IEnumerable<Parameter> Parameters =>
            [Ln1Weight, Ln1Bias, .. Of(CAttn), .. Of(CProj), Ln2Weight, Ln2Bias, .. Of(CFc), .. Of(MlpProj)];

        public Variable Forward(Variable x, Gpt2 model, int layer, Func<int, Variable, Variable> attend)
        {
            Tape tape = x.Tape;
            float epsilon = model.Config.LayerNormEpsilon;
            Variable a = Ops.LayerNorm(x, tape.Read(Ln1Weight), tape.Read(Ln1Bias), epsilon);   // (N, C)
            Variable qkv = CAttn.Forward(a, On(MapKind.Q, MapKind.K, MapKind.V, MapKind.CAttn)); // (N, 3C)
            x = CProj.AddTo(x, attend(layer, qkv), On(MapKind.AttnProj));                        // (N, C)
            Variable m = Ops.LayerNorm(x, tape.Read(Ln2Weight), tape.Read(Ln2Bias), epsilon);   // (N, C)
            Variable inner = CFc.Activated(m, On(MapKind.Fc));                                   // (N, 4C)
            return MlpProj.AddTo(x, inner, On(MapKind.MlpProj));                                 // (N, C)

            DeltaRows[] On(params ReadOnlySpan<MapKind> kinds) => model.Adapter?.On(tape, layer, kinds) ?? [];
        }

        public void Dispose()
        {
            foreach (LinearMap map in Maps) map.Dispose();
        }

        private static IEnumerable<Parameter> Of(LinearMap map) => map.Weight is null ? [map.Bias] : [map.Weight, map.Bias];
    }
}

/// <summary>Where a model's weights come from.</summary>
internal interface IWeightSource
{
    /// <summary>The tensor of that checkpoint name and shape, on the device, owned by the caller.</summary>
    /// <param name="name">Without a prefix.</param>
    /// <param name="shape">What the configuration makes it.</param>
    /// <param name="digest">The digest of its values, where it costs nothing more to have it.</param>
    Tensor Read(string name, Shape shape, out WeightDigest? digest);
}
