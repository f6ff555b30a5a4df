using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A model's own tokenizer, read from its <c>tokenizer.json</c> or <c>tokenizer.model</c>. Texts begin with the token that the files put
/// before them, if any, and end with the token that they name.
/// </summary>
internal sealed class ModelTokenizer : ITokenizer
{
    private readonly SubwordModel model;
    private readonly TokenVocabulary vocabulary;
    private readonly AddedTokens raw, normalized;
    private readonly bool marksAfterTokens, published;
    private readonly int? end;

    /// <summary>Puts a tokenizer together.</summary>
    /// <param name="parts">What its file has.</param>
    /// <param name="begin">The token that begins texts; null where no file names one.</param>
    /// <param name="begins">Whether it is put before texts.</param>
    /// <param name="end">The token that ends texts; null where no file names one.</param>
    /// <param name="marksAfterTokens">Whether a part of a text after an added token is begun as a text of its own is.</param>
    /// <param name="published">Examples are in the published form of GPT-2, whose contexts end with the end of text.</param>
    public ModelTokenizer(TokenizerParts parts, int? begin, bool begins, int? end, bool marksAfterTokens, bool published)
    {
        (model, vocabulary, BeginOfText) = (parts.Model, parts.Vocabulary, begins ? begin : null);
        (BeginName, EndName) = (Name(begin), Name(end));
        (this.end, this.marksAfterTokens, this.published) = (end, marksAfterTokens, published);
        raw = new(vocabulary.Added.Where(token => !token.IsNormalized));
        // These are looked for in text that was normalized, and so are spelled as that is.
        normalized = new(vocabulary.Added.Where(token => token.IsNormalized)
            .Select(token => token with { Content = model.Normalize(token.Content, PartStart.Within) }));
        StopTokens = [.. end is { } stop ? [stop] : (int[])[], .. published && BlankLine() is { } blank ? [blank] : (int[])[]];
    }

    /// <summary>The token that texts begin with; null for none.</summary>
    public int? BeginOfText { get; }

    /// <summary>How the token that begins texts is spelled, be it put before them or not; empty for none.</summary>
    public string BeginName { get; }

    /// <summary>How the token that ends texts is spelled; empty for none.</summary>
    public string EndName { get; }

    /// <inheritdoc/>
    public int Vocabulary => vocabulary.Count;

    /// <inheritdoc/>
    public int EndOfText => end
        ?? throw new NolaException($"{vocabulary.Path}: no token is named that ends texts (eos_token); give token ids in place of text.");

    /// <inheritdoc/>
    public IReadOnlyList<int> StopTokens { get; }

    /// <inheritdoc/>
    public int LeadingSpaces => vocabulary.LeadingSpaces;

    /// <inheritdoc/>
    public bool CutsAtParagraphs => published;

    /// <summary>The id of a token by its name; null for none.</summary>
    public int? Find(string name) => vocabulary.Find(name);

    /// <inheritdoc/>
    public int[] Encode(string text) => Encode(text, FoundTokens.Text);

    /// <inheritdoc/>
    public int[] EncodeMarkup(string text) => Encode(text, FoundTokens.All);

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids)
    {
        IncrementalDecoder decoder = new(this, begins: true);
        return decoder.AddAll(ids.ToArray()) + decoder.End();
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> BytesOf(int id) => vocabulary.BytesOf(id);

    /// <inheritdoc/>
    public int[] EncodePrompt(string text) => Begun(EncodeMarkup(text));

    /// <inheritdoc/>
    public int[] EncodeContext(string context) => published ? [.. Encode(context), EndOfText] : Begun(Encode(context));

    /// <inheritdoc/>
    public int[] EncodeCompletion(string completion)
    {
        // The space is the one that is put before every text, where one is.
        bool spaced = LeadingSpaces > 0;
        return [.. Encode(spaced ? completion : " " + completion), EndOfText];
    }

    /// <inheritdoc/>
    public int[] EncodeDocument(string text) => [.. Encode(text), EndOfText];

    /// <summary>The tokens of a text.</summary>
    internal int[] Encode(string text, FoundTokens found)
    {
        List<int> ids = new(text.Length / 3 + 8);
        Encode(text, found, null, [], ids);
        return [.. ids];
    }

    /// <summary>Adds the tokens of a text that is a user's in parts.</summary>
    /// <param name="text">All of it.</param>
    /// <param name="found">Which added tokens are found.</param>
    /// <param name="isPlain">Whether what stands from one place to another is a user's, so that no control token is found in it.</param>
    /// <param name="cuts">Places in the text that no token crosses, rising.</param>
    /// <param name="ids">What they are added to.</param>
    /// <returns>How many tokens there are before each of the places.</returns>
    internal int[] Encode(string text, FoundTokens found, Func<int, int, bool>? isPlain, int[] cuts, List<int> ids)
    {
        int[] counts = new int[cuts.Length];
        int reached = 0;
        for (int from = 0; from < text.Length;)
        {
            (AddedToken Token, int Start, int End)? next = raw.Next(text, from, found, isPlain);
            int end = next?.Start ?? text.Length;
            for (int start = from; start < end;)
            {
                Reach(start);
                int stop = reached < cuts.Length ? Math.Min(end, cuts[reached]) : end;
                PartStart place = start == 0 ? PartStart.Text : start == from && marksAfterTokens ? PartStart.AfterToken : PartStart.Within;
                AddPart(text[start..stop], place, found, ids);
                start = stop;
            }
            Reach(end);
            if (next is { } token) ids.Add(token.Token.Id);
            from = next?.End ?? end;
        }
        Reach(text.Length);
        return counts;

        void Reach(int place)
        {
            while (reached < cuts.Length && cuts[reached] <= place) counts[reached++] = ids.Count;
        }
    }

    private void AddPart(string part, PartStart place, FoundTokens found, List<int> ids)
    {
        part = model.Normalize(part, place);
        for (int from = 0; from < part.Length;)
        {
            (AddedToken Token, int Start, int End)? next = normalized.Next(part, from, found);
            int end = next?.Start ?? part.Length;
            if (end > from) model.Encode(part.AsSpan(from, end - from), from == 0 ? place : PartStart.AfterToken, ids);
            if (next is { } token) ids.Add(token.Token.Id);
            from = next?.End ?? end;
        }
    }

    // Never empty: without a token that begins texts, an empty one is begun by the token that ends the one before.
    private int[] Begun(int[] ids) => BeginOfText is { } begin ? [begin, .. ids] : ids.Length > 0 ? ids : [EndOfText];

    private string Name(int? id) => id is { } known ? vocabulary.NameOf(known) : "";

    private int? BlankLine()
    {
        for (int id = 0; id < Vocabulary; id++)
            if (BytesOf(id).SequenceEqual("\n\n"u8)) return id;
        return null;
    }
}
