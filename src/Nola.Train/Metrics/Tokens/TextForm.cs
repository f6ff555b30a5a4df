using System.Globalization;
using System.Text;

namespace Nola.Train.Metrics;

/// <summary>
/// What is done to hypotheses and references before they are scored. LoRA and NOLA score WebNLG and DART in lower case and
/// tokenized (options of <c>gpt2_decode.py</c>), E2E as it is.
/// </summary>
/// <param name="Lower">Everything in lower case.</param>
/// <param name="Tokenize">Every character but letters, digits and underscores a word of its own, and one space between words.</param>
public readonly record struct TextForm(bool Lower, bool Tokenize)
{
    /// <summary>As WebNLG and DART are scored.</summary>
    public static TextForm Published => new(true, true);

    /// <summary>The text in this form.</summary>
    public string Of(string text)
    {
        if (Lower) text = UnicodeText.Lower(text);
        if (!Tokenize) return text;
        StringBuilder apart = new(2 * text.Length);
        foreach (Rune rune in text.EnumerateRunes())
            if (IsWord(rune)) apart.Append(rune.ToString());
            else apart.Append(' ').Append(rune.ToString()).Append(' ');
        return string.Join(' ', UnicodeText.Words(apart.ToString()));
    }

    /// <summary>As signatures say it: <c>lower+tokenize</c>; empty for texts as they are.</summary>
    public override string ToString() =>
        string.Join('+', ((string[])[Lower ? "lower" : "", Tokenize ? "tokenize" : ""]).Where(s => s.Length > 0));

    // Python's \w: letters, everything numeric, and the underscore.
    private static bool IsWord(Rune rune) => rune.Value == '_' || Rune.IsLetterOrDigit(rune)
        || Rune.GetUnicodeCategory(rune) is UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber;
}
