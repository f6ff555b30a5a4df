using System.Globalization;
using System.Numerics;

namespace Nola.Tensors;

/// <summary>
/// The one reader of numbers in options and files, and the writer of those that are read again: digits, a sign, a decimal point and
/// an exponent, and nothing else. No white space, no thousands separator (<c>0,8</c> is no number and never eight), no infinity and
/// no NaN, whatever the culture.
/// </summary>
internal static class StrictNumber
{
    private const NumberStyles Real = NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;

    /// <summary>A whole number of any integer type; the sign is allowed where the type has one.</summary>
    public static bool TryWhole<T>(ReadOnlySpan<char> text, out T value) where T : struct, IBinaryInteger<T> =>
        T.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value);

    /// <summary>A finite number of any floating-point type.</summary>
    public static bool TryReal<T>(ReadOnlySpan<char> text, out T value) where T : struct, IBinaryFloatingPointIeee754<T> =>
        T.TryParse(text, Real, CultureInfo.InvariantCulture, out value) && T.IsFinite(value);

    /// <summary>
    /// The number that a person would write for a float32:
    /// 0.007 for the nearest to it, which reads back as the same bits.
    /// </summary>
    public static double Shortest(float value) => double.Parse(value.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
