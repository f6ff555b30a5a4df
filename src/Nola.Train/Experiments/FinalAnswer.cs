using System.Globalization;

namespace Nola.Train;

/// <summary>
/// The final answer of a text that reasons first, by the rules of Hugging Face PEFT's method_comparison (MetaMathQA/utils.py):
/// <c>The answer is: 16</c> of MetaMathQA, <c>#### 16</c> of GSM8K.
/// </summary>
internal static class FinalAnswer
{
    // In PEFT's order: the first that is there counts, and of several places the last.
    private static readonly string[] delimiters =
        ["The answer is: ", "The answer is ", "The final answer is: ", "The final answer is ", "#### "];

    /// <summary>What is expected, for messages.</summary>
    public const string Expected = "\"The answer is: …\" or \"#### …\"";

    /// <summary>The answer as it is written, up to the end of its line; null where none is announced.</summary>
    public static string? Of(string text)
    {
        text = text.Trim().TrimEnd('.', '!', '?');
        if (delimiters.FirstOrDefault(d => text.Contains(d, StringComparison.Ordinal)) is not { } found) return null;
        string answer = text[(text.LastIndexOf(found, StringComparison.Ordinal) + found.Length)..].Trim();
        return answer.Split('\n')[0].Trim(' ', '.', '!', '?', '$', '%');
    }

    /// <summary>Whether two answers are the same number, <c>20/14</c> among them, or else the same text.</summary>
    public static bool AreEqual(string? answer, string? expected)
    {
        if (answer is null || expected is null) return false;
        double? a = Number(answer), b = Number(expected);
        return a is null && b is null ? answer == expected : a == b;
    }

    // Python's Decimal: digits, perhaps a sign, a point and an exponent; one "_" between digits. No commas.
    private static double? Number(string text)
    {
        string[] parts = text.Trim().Split('/');
        if (parts.Length > 2 || Single(parts[0]) is not { } numerator) return null;
        if (parts.Length == 1) return numerator;
        return Single(parts[1]) is { } denominator && denominator != 0 ? numerator / denominator : null;

        static double? Single(string part)
        {
            part = part.Trim().Replace("_", "", StringComparison.Ordinal);
            const NumberStyles Style = NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;
            return double.TryParse(part, Style, CultureInfo.InvariantCulture, out double value) && double.IsFinite(value) ? value : null;
        }
    }
}
