using System.Text;

namespace Nola.Models;

/// <summary>Cuts a text into words, which tokens never cross, as a <c>pre_tokenizer</c> of <c>tokenizer.json</c> says it.</summary>
internal abstract class PreTokenizer
{
    /// <summary>The text with what is put before it; null to leave it as it is.</summary>
    public virtual string? Changed(ReadOnlySpan<char> text, PartStart start) => null;

    /// <summary>Adds where each word ends; the last one ends with the text.</summary>
    public abstract void Cut(ReadOnlySpan<char> text, List<int> ends);
}

/// <summary>Cuts at whatever an expression finds: that is a word, and so is what lies between.</summary>
internal sealed class PatternCuts(WordPattern pattern, bool prefixesSpace = false) : PreTokenizer
{
    /// <inheritdoc/>
    public override string? Changed(ReadOnlySpan<char> text, PartStart start) =>
        prefixesSpace && start != PartStart.Within && text is not [' ', ..] ? string.Concat(" ", text) : null;

    /// <inheritdoc/>
    public override void Cut(ReadOnlySpan<char> text, List<int> ends) => pattern.Cut(text, ends);
}

/// <summary>A space before the text and no cut.</summary>
internal sealed class SpacePrefix : PreTokenizer
{
    /// <inheritdoc/>
    public override string? Changed(ReadOnlySpan<char> text, PartStart start) =>
        start != PartStart.Within && text is not [' ', ..] ? string.Concat(" ", text) : null;

    /// <inheritdoc/>
    public override void Cut(ReadOnlySpan<char> text, List<int> ends) => ends.Add(text.Length);
}

/// <summary>Cuts around digits, all of them or runs of them.</summary>
internal sealed class DigitCuts(bool single) : PreTokenizer
{
    /// <inheritdoc/>
    public override void Cut(ReadOnlySpan<char> text, List<int> ends)
    {
        bool before = false;
        for (int i = 0, units; i < text.Length; i += units)
        {
            Rune.DecodeFromUtf16(text[i..], out Rune rune, out units);
            bool digit = Rune.IsNumber(rune);
            if (i > 0 && (digit != before || (digit && single))) ends.Add(i);
            before = digit;
        }
        ends.Add(text.Length);
    }
}

/// <summary>SentencePiece's spaces, ▁: one before a text, one for each space, and perhaps a cut before each.</summary>
/// <param name="mark">What stands for a space.</param>
/// <param name="prefix">Before what a mark is put: null for nothing, else the text alone, or every part of it.</param>
/// <param name="cuts">Whether words end before each mark.</param>
internal sealed class SpaceMarks(char mark, MarkPrefix prefix, bool cuts) : PreTokenizer
{
    /// <summary>Whether words end before each mark.</summary>
    public bool Cuts => cuts;

    /// <inheritdoc/>
    public override string? Changed(ReadOnlySpan<char> text, PartStart start)
    {
        bool marked = prefix switch
        {
            MarkPrefix.Never => false,
            MarkPrefix.First => start == PartStart.Text,
            _ => start != PartStart.Within,
        };
        string changed = text.ToString().Replace(' ', mark);
        return marked && text.Length > 0 && changed[0] != mark ? mark + changed : changed;
    }

    /// <inheritdoc/>
    public override void Cut(ReadOnlySpan<char> text, List<int> ends)
    {
        for (int i = 1; cuts && i < text.Length; i++)
            if (text[i] == mark) ends.Add(i);
        ends.Add(text.Length);
    }
}

/// <summary>Before which parts of a text a mark for a space is put.</summary>
internal enum MarkPrefix
{
    /// <summary>None.</summary>
    Never,

    /// <summary>The one that begins the text.</summary>
    First,

    /// <summary>The one that begins the text, and those after added tokens.</summary>
    Always,
}

/// <summary>
/// Cuts before each run of marks for spaces. Where no token has one behind another character, this changes nothing, and keeps the
/// words short.
/// </summary>
internal sealed class RunCuts(char mark) : PreTokenizer
{
    /// <inheritdoc/>
    public override void Cut(ReadOnlySpan<char> text, List<int> ends)
    {
        for (int i = 1; i < text.Length;)
        {
            int found = text[i..].IndexOf(mark);
            if (found < 0) break;
            i += found;
            if (text[i - 1] != mark) ends.Add(i);
            i++;
        }
        if (text.Length > 0) ends.Add(text.Length);
    }
}
