using System.Text;

namespace Nola.Models;

/// <summary>Text of tokens as they come, without stop tokens and without what follows a stop string.</summary>
/// <param name="tokenizer">The model's.</param>
/// <param name="options">By which they are chosen; the stop tokens are given.</param>
/// <param name="trims">Whether spaces at the beginning are left out, as of a completion in the form that is taught.</param>
/// <param name="begins">Whether the tokens begin a text, and follow none.</param>
internal sealed class TextPieces(ITokenizer tokenizer, GenerateOptions options, bool trims, bool begins = false)
{
    private readonly IncrementalDecoder decoder = new(tokenizer, begins);
    private readonly StringBuilder held = new();
    private readonly AnswerText answer = new(trims);
    private bool ended;

    // What may be the beginning of a stop string is held back.
    private readonly int longest = options.StopStrings.Count == 0 ? 0 : options.StopStrings.Max(text => text.Length) - 1;

    /// <summary>What can be shown after one more token; may be empty.</summary>
    public string Add(int token) => ended || options.StopTokens!.Contains(token) ? "" : Show(decoder.Add(token), longest);

    /// <summary>What is left at the end.</summary>
    public string End() => ended ? "" : Show(decoder.End(), 0);

    private string Show(string more, int holding)
    {
        held.Append(more);
        string text = held.ToString(), cut = StopStrings.Cut(text, options.StopStrings);
        ended = cut.Length < text.Length;
        int ready = ended ? cut.Length : Math.Max(0, text.Length - holding);
        // Neither piece is to have half of a character.
        if (ready > 0 && ready < cut.Length && char.IsHighSurrogate(text[ready - 1])) ready--;
        held.Clear().Append(cut.AsSpan(ready));
        return answer.Add(cut[..ready]);
    }
}
