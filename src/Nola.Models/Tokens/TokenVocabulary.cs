using System.Text;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>How tokens become text again.</summary>
/// <param name="IsByteLevel">They spell bytes in GPT-2's alphabet.</param>
/// <param name="HasMarks">▁ stands for a space, and <c>&lt;0x0A&gt;</c> for a byte.</param>
/// <param name="LeadingSpaces">The most spaces at the beginning of a text that are dropped.</param>
internal sealed record TokenForm(bool IsByteLevel, bool HasMarks, int LeadingSpaces);

/// <summary>All tokens with what each is in a text.</summary>
internal sealed class TokenVocabulary
{
    private readonly byte[]?[] bytes;
    private readonly string path;

    /// <summary>The tokens of a <c>tokenizer.json</c>.</summary>
    public TokenVocabulary(string path, Dictionary<string, int> tokens, IReadOnlyList<AddedToken> added, TokenForm form)
        : this(path, added, form.LeadingSpaces, tokens.Values.Append(-1).Max())
    {
        if (form.IsByteLevel) Gpt2Tokenizer.TokenBytes([.. tokens.Select(t => (t.Key, t.Value))]).CopyTo(bytes, 0);
        else
            foreach ((string token, int id) in tokens) bytes[id] = form.HasMarks ? Marked(token) : Encoding.UTF8.GetBytes(token);
        Names = tokens;
        Add(added);
    }

    /// <summary>The pieces of a SentencePiece model.</summary>
    public TokenVocabulary(string path, SentencePieceFile file, IReadOnlyList<AddedToken> added)
        : this(path, added, !file.AddsSpace && !file.RemovesSpaces ? 0 : file.RemovesSpaces ? int.MaxValue : 1, file.Pieces.Count - 1)
    {
        for (int id = 0; id < file.Pieces.Count; id++)
        {
            (string text, _, PieceKind kind) = file.Pieces[id];
            Names.TryAdd(text, id);
            bytes[id] = kind switch
            {
                PieceKind.Control => [],
                PieceKind.Unknown => Encoding.UTF8.GetBytes(file.UnknownText),
                _ => Marked(text),
            };
        }
        // What the file has as control pieces stays without a text, and the unknown piece keeps its own.
        Add(added.Where(token => token.Id >= file.Pieces.Count || file.Pieces[token.Id].Kind == PieceKind.Normal));
    }

    private TokenVocabulary(string path, IReadOnlyList<AddedToken> added, int leadingSpaces, int largest)
    {
        (this.path, Added, LeadingSpaces) = (path, added, leadingSpaces);
        bytes = new byte[Math.Max(largest, added.Count == 0 ? -1 : added.Max(token => token.Id)) + 1][];
    }

    /// <summary>The file that it comes from.</summary>
    public string Path => path;

    /// <summary>One more than the largest id.</summary>
    public int Count => bytes.Length;

    /// <summary>The tokens that are found as they are spelled.</summary>
    public IReadOnlyList<AddedToken> Added { get; }

    /// <summary>The most spaces at the beginning of a text that are dropped.</summary>
    public int LeadingSpaces { get; }

    private Dictionary<string, int> Names { get; init; } = [];

    /// <summary>The id of a token by its name; null for none.</summary>
    public int? Find(string name) =>
        Added.FirstOrDefault(token => token.Content == name)?.Id ?? (Names.TryGetValue(name, out int id) ? id : null);

    /// <summary>The name of a token, for messages.</summary>
    public string NameOf(int id) =>
        Added.FirstOrDefault(token => token.Id == id)?.Content ?? Names.FirstOrDefault(pair => pair.Value == id).Key ?? "";

    /// <summary>
    /// Number of tokens of the model, which may have more than there are here: embeddings are padded to round sizes. What stands for
    /// no token has no bytes.
    /// </summary>
    public int Padded { get; set; }

    /// <summary>The bytes of a token.</summary>
    /// <exception cref="NolaException">There is none of that id.</exception>
    public ReadOnlySpan<byte> BytesOf(int id)
    {
        if ((uint)id < (uint)bytes.Length) return bytes[id];
        if (id >= 0 && id < Padded) return [];
        throw new NolaException($"Token id {id} is outside the tokenizer's vocabulary of {Count} ({path}).");
    }

    private void Add(IEnumerable<AddedToken> added)
    {
        foreach (AddedToken token in added) bytes[token.Id] = Encoding.UTF8.GetBytes(token.Content);
    }

    private static byte[] Marked(string token) =>
        ByteTokens.Of(token) is { } value ? [value] : Encoding.UTF8.GetBytes(token.Replace('\u2581', ' '));
}

/// <summary>What a tokenizer's file holds.</summary>
/// <param name="Model">How text becomes tokens.</param>
/// <param name="Vocabulary">How tokens become text.</param>
internal sealed record TokenizerParts(SubwordModel Model, TokenVocabulary Vocabulary)
{
    /// <summary>Tokens that the file puts before a text.</summary>
    public IReadOnlyList<int> Before { get; init; } = [];

    /// <summary>Tokens that the file puts after a text.</summary>
    public IReadOnlyList<int> After { get; init; } = [];

    /// <summary>Whether the file itself says what is before and after.</summary>
    public bool HasFrame { get; init; }

    /// <summary>The token that begins a text, by the file; null where it does not say.</summary>
    public int? Begin { get; init; }

    /// <summary>The token that ends a text, by the file; null where it does not say.</summary>
    public int? End { get; init; }
}
