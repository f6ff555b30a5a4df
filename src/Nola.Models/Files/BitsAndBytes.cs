using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Weights of linear maps as bitsandbytes saves them, with what belongs to them beside them. NF4: <c>weight</c> with
/// <c>weight.absmax</c>, <c>weight.quant_map</c>, <c>weight.quant_state.bitsandbytes__nf4</c>, and for double quantization
/// <c>weight.nested_absmax</c> and <c>weight.nested_quant_map</c>. Int8: <c>weight</c> with <c>SCB</c> and <c>weight_format</c>.
/// </summary>
internal static class BitsAndBytes
{
    private const string State = ".quant_state.bitsandbytes__";

    // What weight_format counts.
    private static readonly string[] layouts = ["row", "col32", "col_turing", "col_ampere"];

    /// <summary>Where a tensor is; null when there is none of that name.</summary>
    public delegate (Safetensors File, SafetensorsEntry Entry)? Finder(string name);

    /// <summary>The weight in its codes; null when it is not in codes.</summary>
    /// <param name="find">Finds tensors of the checkpoint.</param>
    /// <param name="name">The weight's name, <c>module.weight</c>.</param>
    /// <param name="outputs">Number of outputs.</param>
    /// <param name="inputs">Number of inputs.</param>
    /// <exception cref="NolaException">It is in codes of another kind, or what belongs to it is missing or does not fit.</exception>
    public static QuantizedMatrix? Read(Finder find, string name, int outputs, int inputs)
    {
        if (find(name) is not { } weight) return null;
        Weight found = new(find, name, weight.File, weight.Entry, outputs, inputs);
        return weight.Entry.Type switch
        {
            "U8" => found.Nf4(),
            "I8" => found.Int8(),
            _ => null,
        };
    }

    private sealed record Weight(Finder Find, string Name, Safetensors File, SafetensorsEntry Entry, int Outputs, int Inputs)
    {
        public QuantizedMatrix Nf4()
        {
            bool nested = ReadState(out float offset);
            (long bytes, long blocks) = QuantizedMatrix.Sizes(WeightFormat.Nf4, Outputs, Inputs);
            if (Entry.Length != bytes)
                throw Bad($"{Named(Entry)} has {Entry.Length} bytes, and the codes of ({Outputs}, {Inputs}) take {bytes}");
            if (!Floats(Name + ".quant_map", 16).AsSpan().SequenceEqual(CodeBook.Nf4.Values))
                throw Bad($"'{Name}.quant_map' has other values than NF4");
            byte[] codes = File.ReadBytes(Entry);
            if (!nested) return new(WeightFormat.Nf4, Outputs, Inputs, codes, Floats(Name + ".absmax", blocks));
            NestedScales scales = new(
                Bytes(Name + ".absmax", blocks),
                Floats(Name + ".nested_absmax", (blocks + NestedScales.BlockSize - 1) / NestedScales.BlockSize), offset,
                Floats(Name + ".nested_quant_map", CodeBook.Dynamic.Values.Length));
            return new(WeightFormat.Nf4Double, Outputs, Inputs, codes, [], scales);
        }

        public QuantizedMatrix Int8()
        {
            string module = Name[..Name.LastIndexOf('.')];
            if (!Entry.Shape.AsSpan().SequenceEqual([Outputs, Inputs]))
                throw Bad($"{Named(Entry)} has shape [{string.Join(", ", Entry.Shape)}] where config.json makes it [{Outputs}, {Inputs}]");
            if (Find(module + ".weight_format") is { } format)
            {
                int layout = format.Entry is { Type: "U8", Length: 1 } ? format.File.Bytes(format.Entry)[0] : -1;
                string name = layout >= 0 && layout < layouts.Length ? layouts[layout] : $"{layout}";
                if (layout != 0)
                    throw new NolaException(
                        $"{format.File.Path}: '{module}.weight_format' is {name}; only the layout by rows (0) can be read.");
            }
            return new(WeightFormat.Int8, Outputs, Inputs, File.ReadBytes(Entry), Floats(module + ".SCB", Outputs));
        }

        // What the JSON beside the weight says; whether magnitudes are in 8 bits.
        private bool ReadState(out float offset)
        {
            string name = Name + State + "nf4";
            if (Find(name) is not { } state) throw Unknown();
            string place = $"{state.File.Path}: '{name}'";
            using JsonDocument document = JsonInput.Parse(state.File.ReadBytes(state.Entry), place);
            JsonElement root = document.RootElement;
            Expect(root, "quant_type", "\"nf4\"", place);
            Expect(root, "blocksize", $"{QuantizedMatrix.BlockSize}", place);
            Expect(root, "shape", $"[{Outputs}, {Inputs}]", place);
            bool nested = root.TryGetProperty("nested_offset", out JsonElement mean);
            offset = 0;
            if (!nested) return false;
            Expect(root, "nested_blocksize", $"{NestedScales.BlockSize}", place);
            if (mean.ValueKind != JsonValueKind.Number || !StrictNumber.TryReal(mean.GetRawText(), out offset))
                throw new NolaException($"{place}: nested_offset is {Quoted.Of(mean.GetRawText())}; expected a finite number.");
            return true;
        }

        private static void Expect(JsonElement root, string key, string value, string place)
        {
            JsonElement given = default;
            bool found = root.ValueKind == JsonValueKind.Object && root.TryGetProperty(key, out given);
            string text = found ? given.GetRawText() : "missing";
            if (string.Concat(text.Where(c => c != ' ')) != string.Concat(value.Where(c => c != ' ')))
                throw new NolaException($"{place}: {key} is {NolaException.OneLine(text, 60)}; expected {value}.");
        }

        private float[] Floats(string name, long length)
        {
            (Safetensors file, SafetensorsEntry entry) = Beside(name, "F32", length);
            float[] values = new float[length];
            file.FiniteFloats(entry, 0, values);
            return values;
        }

        private byte[] Bytes(string name, long length)
        {
            (Safetensors file, SafetensorsEntry entry) = Beside(name, "U8", length);
            return file.ReadBytes(entry);
        }

        private (Safetensors File, SafetensorsEntry Entry) Beside(string name, string type, long length)
        {
            if (Find(name) is not { } found) throw Bad($"'{name}' is missing beside {Named(Entry)}");
            if (found.Entry.Type != type || found.Entry.Length != length)
                throw Bad($"{Named(found.Entry)} is {found.Entry.Type} with {found.Entry.Length} elements; expected {type} with {length}");
            return found;
        }

        private NolaException Unknown() => new(
            $"{File.Path}: {Named(Entry)} is in codes of {(Find(Name + State + "fp4") is null ? "a kind that is not known" : "FP4")}; "
            + "of quantized checkpoints only NF4 and int8 of bitsandbytes can be read. Load the whole checkpoint that it was made of.");

        private NolaException Bad(string what) => new($"{File.Path}: {what}. The file is damaged or cut off; download it again.");

        private static string Named(SafetensorsEntry entry) => $"tensor '{entry.Name}'";
    }

    /// <summary>The values that codes stand for, as a digest of them in row-major order. (out, in)</summary>
    public static WeightDigest Digest(QuantizedMatrix matrix)
    {
        WeightDigest digest = new([matrix.Outputs, matrix.Inputs]);
        float[] row = new float[matrix.Inputs];
        for (int o = 0; o < matrix.Outputs; o++)
        {
            matrix.Row(o, row);
            digest.Add(row);
        }
        return digest;
    }
}
