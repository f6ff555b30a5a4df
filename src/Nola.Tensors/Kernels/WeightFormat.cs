namespace Nola.Tensors;

/// <summary>How a frozen weight is kept.</summary>
public enum WeightFormat
{
    /// <summary>Every value as it is, in four bytes.</summary>
    Float32,

    /// <summary>Rounded to bfloat16, in two bytes.</summary>
    BFloat16,

    /// <summary>Whole numbers from −127 to 127, and the largest magnitude of each row of (out, in): one byte and a little.</summary>
    Int8,

    /// <summary>NF4: one of 16 values, and the largest magnitude of each 64 of them: half a byte and a sixteenth.</summary>
    Nf4,

    /// <summary>NF4 whose magnitudes are themselves quantized to 8 bits (double quantization): half a byte and a sixtieth.</summary>
    Nf4Double,
}

/// <summary>What a format is made of.</summary>
public static class WeightFormats
{
    private static readonly (WeightFormat Format, string Name)[] names =
    [
        (WeightFormat.Float32, "float32"),
        (WeightFormat.BFloat16, "bfloat16"),
        (WeightFormat.Int8, "int8"),
        (WeightFormat.Nf4, "nf4"),
        (WeightFormat.Nf4Double, "nf4-double"),
    ];

    /// <summary>The names of all formats.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. names.Select(pair => pair.Name)];

    /// <summary>What a format is called, for example <c>nf4-double</c>.</summary>
    /// <exception cref="ArgumentException">There is no such format.</exception>
    public static string Name(this WeightFormat format) =>
        names.FirstOrDefault(pair => pair.Format == format).Name ?? throw Unknown(format);

    /// <summary>The format of that name, or null.</summary>
    public static WeightFormat? Find(string name) =>
        Names.Contains(name) ? names.First(pair => pair.Name == name).Format : null;

    /// <summary>Whether values are kept as codes in 8 or 4 bits.</summary>
    public static bool IsQuantized(this WeightFormat format) => format is WeightFormat.Int8 or WeightFormat.Nf4 or WeightFormat.Nf4Double;

    /// <summary>Type of the elements that are stored; codes of 8 and 4 bits are stored in words of 32.</summary>
    /// <exception cref="ArgumentException">There is no such format.</exception>
    public static DType ElementType(this WeightFormat format) => format switch
    {
        WeightFormat.Float32 => DType.Float32,
        WeightFormat.BFloat16 => DType.BFloat16,
        _ when format.IsQuantized() => DType.Int32,
        _ => throw Unknown(format),
    };

    /// <summary>The format of elements of a type.</summary>
    internal static WeightFormat Of(DType type) => type == DType.BFloat16 ? WeightFormat.BFloat16 : WeightFormat.Float32;

    private static ArgumentException Unknown(WeightFormat format) =>
        new($"Freeze: the format is {format}; "
            + $"expected {string.Join(", ", names[..^1].Select(pair => pair.Format))} or {names[^1].Format}.");
}
