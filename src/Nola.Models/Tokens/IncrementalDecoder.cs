using System.Text;

namespace Nola.Models;

/// <summary>Turns tokens into text as they come, holding back the bytes of a character that is not complete yet.</summary>
/// <param name="tokenizer">The model's.</param>
/// <param name="begins">Whether the tokens begin a text; else they continue one, and a space before them is a part of it.</param>
public sealed class IncrementalDecoder(ITokenizer tokenizer, bool begins = false)
{
    private readonly Decoder decoder = Encoding.UTF8.GetDecoder();
    private int dropped = begins ? tokenizer.LeadingSpaces : 0;

    /// <summary>What can be shown after one more token; may be empty.</summary>
    public string Add(int id)
    {
        ReadOnlySpan<byte> bytes = tokenizer.BytesOf(id);
        for (; dropped > 0 && bytes is [(byte)' ', ..]; dropped--) bytes = bytes[1..];
        if (bytes.IsEmpty) return "";
        dropped = 0;
        // A vocabulary may have tokens of any length.
        Span<char> chars = bytes.Length < 256 ? stackalloc char[260] : new char[bytes.Length + 4];
        return new string(chars[..decoder.GetChars(bytes, chars, flush: false)]);
    }

    /// <summary>What can be shown after some more tokens.</summary>
    public string AddAll(IEnumerable<int> ids) => string.Concat(ids.Select(Add));

    /// <summary>What is left at the end: a replacement character where the last one is not complete.</summary>
    public string End()
    {
        Span<char> chars = stackalloc char[4];
        return new string(chars[..decoder.GetChars([], chars, flush: true)]);
    }
}
