using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The <c>quantization_config</c> of a <c>config.json</c>: bitsandbytes' NF4 and int8 pass, and which weights are in codes is then
/// seen by the file; anything else is refused by name.
/// </summary>
internal static class QuantizationConfig
{
    private const string Known = "bitsandbytes";

    /// <summary>Refuses what cannot be read.</summary>
    /// <exception cref="NolaException">It is of another method or type.</exception>
    public static void Check(ConfigFields fields)
    {
        const string Name = "quantization_config";
        if (fields.Given(Name) is { } given && IsOff(given)) return;
        if (fields.Within(Name) is not { } within) return;
        bool four = within.Flag("load_in_4bit") ?? false, eight = within.Flag("load_in_8bit") ?? false;
        // Early files of bitsandbytes do not say the method.
        string method = within.Text("quant_method") ?? (four || eight ? Known : "none that it names");
        if (method != Known)
            throw new NolaException(
                $"{fields.Path}: quantization_config is of the method {NolaException.OneLine(method, 60)}; of quantized checkpoints "
                + "only NF4 and int8 of bitsandbytes can be read. Load the whole checkpoint that it was made of.");
        if (!four) return;
        const string Type = "bnb_4bit_quant_type", Storage = "bnb_4bit_quant_storage";
        // What is not said is FP4.
        if (within.Text(Type) is not "nf4")
            throw new NolaException(
                $"{fields.Path}: {Type} of quantization_config is "
                + $"{(within.Text(Type) is null ? "not given, which means fp4" : within.Shown(Type))}; "
                + "of 4-bit types only nf4 can be read. Load the whole checkpoint that it was made of.");
        if (within.Text(Storage) is { } storage && storage != "uint8") throw within.Bad(Storage, "only uint8 is supported");
    }

    private static bool IsOff(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.False => true,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => value.GetPropertyCount() == 0,
        _ => false,
    };
}
