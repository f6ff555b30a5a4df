namespace Nola.Tensors;

/// <summary>How a frozen weight is kept.</summary>
public enum WeightFormat
{
    /// <summary>Every value as it is, in four bytes.</summary>
    Float32,

    /// <summary>Rounded to bfloat16, in two bytes.</summary>
    BFloat16,
}

/// <summary>What a format is made of.</summary>
public static class WeightFormats
{
    /// <summary>The format of elements of a type.</summary>
    internal static WeightFormat Of(DType type) => type == DType.BFloat16 ? WeightFormat.BFloat16 : WeightFormat.Float32;

    /// <summary>Type of the elements that are stored.</summary>
    /// <exception cref="ArgumentException">There is no such format.</exception>
    public static DType ElementType(this WeightFormat format) => format switch
    {
        WeightFormat.Float32 => DType.Float32,
        WeightFormat.BFloat16 => DType.BFloat16,
        _ => throw new ArgumentException($"Freeze: the format is {format}; expected Float32 or BFloat16."),
    };
}
