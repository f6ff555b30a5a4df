using System.Buffers.Binary;
using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// PEFT's VB-LoRA: vblora_logits_A (r, in / b, h) and vblora_logits_B (out / b, r, h) for each module, and the bank
/// vblora_vector_bank (h, b) of all of them. With save_only_topk_weights, in place of logits the k chosen vectors of each part, largest
/// first, and the weights of all but the last: _topk_indices (…, k) and _topk_weights (…, k − 1), which are enough to use the adapter and
/// not to train it.
/// </summary>
internal sealed class PeftVbLora : PeftForm
{
    public static readonly PeftVbLora Instance = new();

    private const string Bank = "base_model.vblora_vector_bank", LogitsA = "vblora_logits_A", LogitsB = "vblora_logits_B";
    private const string Vectors = "num_vectors", Length = "vector_length", TopK = "topk", OnlyTopK = "save_only_topk_weights";
    private const string Indices = "_topk_indices", Weights = "_topk_weights";

    // The logit of a chosen vector whose weight is zero, and of one that is not chosen. PEFT takes −∞, which no file of ours may hold.
    private const float NoWeight = -1e30f, NotChosen = float.MinValue;

    private PeftVbLora() { }

    public override string PeftType => "VBLORA";

    public override string Plain => "only VB-LoRA without trained biases";

    public override IReadOnlySet<string> Silent { get; } =
        new HashSet<string> { "vblora_dropout", "init_vector_bank_bound", "init_logits_std" };

    public override IReadOnlySet<string> Understood { get; } = new HashSet<string> { "r", Vectors, Length, TopK, OnlyTopK, "bias" };

    public override AdapterContent Read(PeftConfig config, PeftTensors tensors, IModel model)
    {
        config.CheckNoBias();
        VbLoraOptions options = new()
        {
            Rank = config.Rank(),
            Vectors = config.Count(Vectors, 256),
            VectorLength = config.Count(Length, 256),
            TopK = config.Count(TopK, 2),
        };
        if (config.Given(OnlyTopK) is { ValueKind: not (JsonValueKind.True or JsonValueKind.False) })
            throw config.Bad(OnlyTopK, "true or false");
        if (!tensors.File.TryGet(Bank, out SafetensorsEntry? bank))
            throw new NolaException($"{tensors.File.Path}: has no {Bank}; the file is not whole.");
        float[] vectors = tensors.Values(bank!, $"{Vectors} and {Length}", options.Vectors, options.VectorLength);
        Dictionary<AdaptableMap, float[]> a = [], b = [];
        Dictionary<AdaptableMap, List<(string Name, SafetensorsEntry Entry)>> found = [];
        foreach ((AdaptableMap map, string name, SafetensorsEntry entry) in tensors.Read("VB-LoRA tensor", name => name == Bank))
        {
            if (!found.TryGetValue(map, out List<(string, SafetensorsEntry)>? own)) found[map] = own = [];
            own.Add((name, entry));
        }
        tensors.CheckModules(config, found.Keys.ToHashSet(), "logits");
        options = options with { Targets = [.. found.Keys.Select(map => map.Name)] };
        Adapter.Check(model, options);
        bool onlyTopK = config.Given(OnlyTopK) is { ValueKind: JsonValueKind.True };
        foreach ((AdaptableMap map, List<(string, SafetensorsEntry)> own) in found)
        {
            int partsA = map.In / options.VectorLength, partsB = map.Out / options.VectorLength, r = options.Rank;
            Part part = new(tensors, map, own, options, onlyTopK);
            a[map] = part.Logits(LogitsA, r, partsA);
            b[map] = Exchanged(part.Logits(LogitsB, partsB, r), partsB, r, options.Vectors);
            part.CheckAllRead();
        }
        return tensors.Content(config, options, (name, _) => new(
            name, name == VbLoraMethod.Bank ? vectors : Stacked(name.EndsWith('A') ? a : b, name[..^2]), null));
    }

    public override PeftWritten? Write(Adapter adapter)
    {
        VbLoraOptions options = (VbLoraOptions)adapter.Options;
        // A part of a module is written as the equal LoRA.
        if (adapter.Groups.SelectMany(group => group.Maps).Any(map => !map.IsModule)) return null;
        Dictionary<string, object> config = ConfigOf(PeftType, adapter.Model, WholeModules(adapter));
        config["r"] = options.Rank;
        config[Vectors] = options.Vectors;
        config[Length] = options.VectorLength;
        config[TopK] = options.TopK;
        config[OnlyTopK] = false;
        config["vblora_dropout"] = 0.0;
        config["bias"] = "none";
        float[] bank = adapter.Stacks.OfType<VbLoraMethod.BankStack>().Single().Vectors.Value.ToArray();
        return new(
            [
                .. adapter.Stacks.OfType<VbLoraMethod.Stack>().SelectMany(stack => Logits(stack, adapter.Model, options)),
                new SafetensorsTensor(Bank, [options.Vectors, options.VectorLength], bank),
            ],
            config);
    }

    private static IEnumerable<SafetensorsTensor> Logits(VbLoraMethod.Stack stack, IModel model, VbLoraOptions options)
    {
        (int r, int h) = (options.Rank, options.Vectors);
        (int partsA, int partsB) = (stack.Group.In / options.VectorLength, stack.Group.Out / options.VectorLength);
        foreach (SafetensorsTensor a in Rows(stack, 0, model, LogitsA, [r, partsA, h])) yield return a;
        float[] all = stack.Parameters[1].Value.ToArray();
        for (int row = 0; row < stack.Group.Count; row++)
        {
            int size = r * partsB * h;
            yield return new SafetensorsTensor(
                $"base_model.model.{FullName(model, stack.Group.Maps[row])}.{LogitsB}", [partsB, r, h],
                Exchanged(all[(row * size)..((row + 1) * size)], r, partsB, h));
        }
    }

    // (p, q, h) to (q, p, h).
    private static float[] Exchanged(float[] values, int p, int q, int h)
    {
        float[] result = new float[values.Length];
        for (int i = 0; i < p; i++)
            for (int j = 0; j < q; j++)
                values.AsSpan((i * q + j) * h, h).CopyTo(result.AsSpan((j * p + i) * h));
        return result;
    }

    /// <summary>The tensors of one module.</summary>
    private sealed class Part(
        PeftTensors tensors, AdaptableMap map, List<(string Name, SafetensorsEntry Entry)> own, VbLoraOptions options, bool onlyTopK)
    {
        private readonly string why = $"this model, r, {Vectors}, {Length} and {TopK}";
        private int read;

        /// <summary>Logits of that name, (p, q, h).</summary>
        public float[] Logits(string name, int p, int q) =>
            onlyTopK ? OfTopK(name, p, q) : tensors.Values(Get(name), why, p, q, options.Vectors);

        /// <summary>Refuses what is none of them.</summary>
        public void CheckAllRead()
        {
            if (read == own.Count) return;
            string[] expected = onlyTopK
                ? [LogitsA + Indices, LogitsA + Weights, LogitsB + Indices, LogitsB + Weights]
                : [LogitsA, LogitsB];
            string stranger = own.Select(one => one.Name).Except(expected).FirstOrDefault() ?? own.GroupBy(one => one.Name)
                .First(same => same.Count() > 1).Key;
            throw new NolaException(
                $"{tensors.File.Path}: {map.Name} has {Quoted.Of(stranger)} once more, or where it should not be; "
                + $"with {OnlyTopK} {(onlyTopK ? "true" : "false")}, expected {string.Join(", ", expected)}, each once.");
        }

        // Their softmax over the chosen ones gives the weights.
        private float[] OfTopK(string name, int p, int q)
        {
            (int h, int k) = (options.Vectors, options.TopK);
            int[] indices = ReadIndices(Get(name + Indices), p, q, k);
            float[] weights = tensors.Values(Get(name + Weights), why, p, q, k - 1), logits = new float[p * q * h];
            Array.Fill(logits, NotChosen);
            for (int part = 0; part < p * q; part++)
            {
                double rest = 1;
                for (int i = 0; i < k; i++)
                {
                    int chosen = indices[part * k + i];
                    double weight = i < k - 1 ? weights[part * (k - 1) + i] : Math.Abs(rest) < 1e-6 ? 0 : rest;
                    if (chosen < 0 || chosen >= h || logits[part * h + chosen] != NotChosen || weight is < 0 or > 1)
                        throw new NolaException(
                            $"{tensors.File.Path}: {name}{Indices} and {name}{Weights} of {map.Name} choose vector {chosen} with weight "
                            + FormattableString.Invariant($"{weight:G4} in part {part}; expected {k} vectors of 0 to {h - 1}, none twice, ")
                            + "and weights from 0 to 1.");
                    logits[part * h + chosen] = weight > 0 ? (float)Math.Log(weight) : NoWeight;
                    rest -= weight;
                }
            }
            return logits;
        }

        private int[] ReadIndices(SafetensorsEntry entry, params long[] shape)
        {
            if (entry.Type is not ("U8" or "I16" or "I32" or "I64") || !entry.Shape.SequenceEqual(shape))
                throw new NolaException(
                    $"{tensors.File.Path}: tensor {Quoted.Of(entry.Name)} is {entry.Type} [{string.Join(", ", entry.Shape)}]; "
                    + $"{why} need whole numbers [{string.Join(", ", shape)}].");
            byte[] bytes = tensors.File.Bytes(entry).ToArray();
            return [.. Enumerable.Range(0, (int)entry.Length).Select(i => entry.Type switch
            {
                "U8" => bytes[i],
                "I16" => BinaryPrimitives.ReadInt16LittleEndian(bytes.AsSpan(2 * i)),
                "I32" => BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(4 * i)),
                _ => (int)Math.Clamp(BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(8 * i)), -1, int.MaxValue),
            })];
        }

        private SafetensorsEntry Get(string name)
        {
            SafetensorsEntry? entry = own.Where(one => one.Name == name).Select(one => one.Entry).FirstOrDefault();
            read++;
            return entry ?? throw new NolaException(
                $"{tensors.File.Path}: {map.Name} has no {name}, which {OnlyTopK} {(onlyTopK ? "true" : "false")} asks for; "
                + "the file is not whole.");
        }
    }
}
