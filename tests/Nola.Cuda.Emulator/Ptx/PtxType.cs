namespace Nola.Cuda.Emulator;

/// <summary>A type of PTX, by its suffix.</summary>
/// <param name="Suffix">For example <c>f32</c>.</param>
/// <param name="C">The type in C that holds it.</param>
/// <param name="Bytes">Its size; predicates have none.</param>
public sealed record PtxType(string Suffix, string C, int Bytes)
{
    private static readonly Dictionary<string, PtxType> all = new PtxType[]
    {
        new("pred", "u8", 0), new("b8", "u8", 1), new("u8", "u8", 1), new("s8", "s8", 1),
        new("b16", "u16", 2), new("u16", "u16", 2), new("s16", "s16", 2),
        new("b32", "u32", 4), new("u32", "u32", 4), new("s32", "s32", 4), new("b64", "u64", 8), new("u64", "u64", 8), new("s64", "s64", 8),
        new("f32", "float", 4), new("f64", "double", 8),
    }.ToDictionary(t => t.Suffix);

    /// <summary>Predicates.</summary>
    public static PtxType Predicate { get; } = all["pred"];

    /// <summary>Whether it is f32 or f64.</summary>
    public bool IsFloat => Suffix[0] == 'f';

    /// <summary>Whether it is s8 … s64.</summary>
    public bool IsSigned => Suffix[0] == 's';

    /// <summary>How many bits it has.</summary>
    public int Bits => 8 * Bytes;

    /// <summary>The type of a suffix.</summary>
    /// <exception cref="PtxException">There is none.</exception>
    public static PtxType Of(string suffix) =>
        all.TryGetValue(suffix, out PtxType? type) ? type : throw new PtxException($"type .{suffix} is not known");

    /// <summary>The same bits without a sign.</summary>
    public PtxType Unsigned => IsSigned ? Of("u" + Suffix[1..]) : this;

    /// <summary>Twice as many bits, for products.</summary>
    public PtxType Wide => Of(Suffix[0] + (2 * Bits).ToString(System.Globalization.CultureInfo.InvariantCulture));
}

/// <summary>PTX that cannot be translated.</summary>
public sealed class PtxException(string message) : Exception(message);
