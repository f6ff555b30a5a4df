using Nola.Tensors;

namespace Nola.Models;

/// <summary>What a model itself says of its tokens.</summary>
/// <param name="Vocabulary">How many it knows.</param>
/// <param name="AreGpt2">Whether it is of GPT-2's kin: with GPT-2's tokens where it has no files, and its form of examples.</param>
/// <param name="Begin">The one that begins texts; null where it does not say.</param>
/// <param name="End">Those that end texts.</param>
internal sealed record ModelTokens(int Vocabulary, bool AreGpt2, int? Begin, IReadOnlyList<int> End);

/// <summary>Finds the tokenizer of a model by the files beside its weights.</summary>
internal static class TokenizerFiles
{
    /// <summary>GPT-2's form: the tokens with their ids, and the merges.</summary>
    internal const string Vocabulary = "vocab.json", Merges = "merges.txt";

    private const string Json = "tokenizer.json", Pieces = "tokenizer.model";

    private static readonly string[] all =
    [
        Vocabulary, Merges, Json, Pieces, TokenizerConfig.FileName, "special_tokens_map.json", "added_tokens.json",
        "chat_template.jinja", "generation_config.json",
    ];

    /// <summary>
    /// The tokenizer in a model's directory. GPT-2's kin read <c>vocab.json</c> with <c>merges.txt</c>, else <c>tokenizer.json</c>, and
    /// without any of them have GPT-2's own, which fits every model with a vocabulary as large. Others read <c>tokenizer.json</c>, else
    /// <c>tokenizer.model</c>, else <c>vocab.json</c> with <c>merges.txt</c>. Null where there is none.
    /// </summary>
    /// <param name="directory">Where the model's files are; null when it has none.</param>
    /// <param name="model">What the model itself says.</param>
    /// <exception cref="NolaException">There are files, and they do not fit the model, or cannot be read.</exception>
    public static ITokenizer? Find(string? directory, ModelTokens model)
    {
        ITokenizer? found = directory is null ? null : Read(directory, model);
        if (found is null && model.AreGpt2 && model.Vocabulary >= Gpt2Tokenizer.GptVocabulary) found = Gpt2Tokenizer.Default;
        if (found is null) return null;
        if (found.Vocabulary <= model.Vocabulary) return found is Gpt2Tokenizer own ? own.PaddedTo(model.Vocabulary) : found;
        throw new NolaException(
            $"{directory}: the tokenizer has ids up to {found.Vocabulary - 1} and the model's vocabulary is {model.Vocabulary}; "
            + "the files do not belong together.");
    }

    /// <summary>What is said when there is none.</summary>
    /// <param name="model">What the model is called.</param>
    /// <param name="tokens">What it says itself.</param>
    public static NolaException None(string model, ModelTokens tokens) => new(tokens.AreGpt2
        ? $"{model}: its vocabulary is {tokens.Vocabulary} and not GPT-2's {Gpt2Tokenizer.GptVocabulary}, "
            + $"and there is no {Vocabulary} with {Merges} beside it; give token ids in place of text."
        : $"{model}: there is no {Json} and no {Pieces} beside its weights; put one there, or give token ids in place of text.");

    /// <summary>Copies a model's tokenizer files into another directory, those that there are.</summary>
    /// <exception cref="NolaException">A file cannot be read or written.</exception>
    public static void Copy(string from, string to)
    {
        if (!Directory.Exists(from) || Path.GetFullPath(from) == Path.GetFullPath(to)) return;
        foreach (string name in all)
        {
            string file = Path.Combine(from, name);
            if (File.Exists(file)) AtomicFile.Write(Path.Combine(to, name), stream => stream.Write(InputFile.ReadAll(file)));
        }
    }

    private static ITokenizer? Read(string directory, ModelTokens model)
    {
        string tokens = Path.Combine(directory, Vocabulary), merges = Path.Combine(directory, Merges);
        string json = Path.Combine(directory, Json), pieces = Path.Combine(directory, Pieces);
        bool pair = File.Exists(tokens) && File.Exists(merges), one = File.Exists(tokens) != File.Exists(merges);
        if (model.AreGpt2 && pair) return Gpt2Tokenizer.FromFiles(tokens, merges);
        if (File.Exists(json)) return Own(TokenizerJson.Read(json), directory, model);
        if (!model.AreGpt2 && File.Exists(pieces)) return Own(ReadPieces(pieces), directory, model);
        if (one)
        {
            (string there, string missing) = File.Exists(tokens) ? (Vocabulary, Merges) : (Merges, Vocabulary);
            throw new NolaException(
                $"{directory}: has {there} and no {missing}; put both of the tokenizer's files there, or neither for GPT-2's.");
        }
        return pair ? Own(ReadPair(directory, tokens, merges), directory, model) : null;
    }

    private static TokenizerParts ReadPieces(string path)
    {
        SentencePieceFile file = SentencePieceFile.Read(path);
        TokenizerConfig beside = TokenizerConfig.Read(Path.GetDirectoryName(path)!);
        AddedToken[] control = [.. file.Pieces.Select((piece, id) => (piece, id)).Where(p => p.piece.Kind == PieceKind.Control)
            .Select(p => new AddedToken(p.piece.Text, p.id) { IsControl = true })];
        AddedToken[] added = [.. control, .. beside.Added.Where(token => control.All(c => c.Id != token.Id && c.Content != token.Content))];
        return new(new SentencePieceModel(file, path), new(path, file, added))
        {
            Begin = Known(file, file.Begin),
            End = Known(file, file.End),
        };
    }

    private static int? Known(SentencePieceFile file, int id) =>
        id >= 0 && id < file.Pieces.Count && file.Pieces[id].Kind == PieceKind.Control ? id : null;

    // The expression that cuts words is in no file; the class that reads them knows it.
    private static TokenizerParts ReadPair(string directory, string tokens, string merges)
    {
        TokenizerConfig beside = TokenizerConfig.Read(directory);
        bool qwen = beside.Class == "Qwen2Tokenizer";
        if (!qwen && beside.Class != "GPT2Tokenizer")
            throw new NolaException(
                $"{directory}: has {Vocabulary} and {Merges}, and nothing says how texts are cut into words; "
                + $"put the model's {Json} there.");
        return TokenizerJson.OfPair(tokens, merges, qwen, beside.Added);
    }

    private static ModelTokenizer Own(TokenizerParts parts, string directory, ModelTokens model)
    {
        TokenizerConfig beside = TokenizerConfig.Read(directory);
        parts.Vocabulary.Padded = model.Vocabulary;
        string path = Path.Combine(directory, TokenizerConfig.FileName);
        int? begin = Named(beside.Begin, "bos_token") ?? parts.Begin ?? model.Begin;
        int? end = Named(beside.End, "eos_token") ?? parts.End ?? (model.End is [int first, ..] ? first : null);
        bool begins = beside.AddsBegin ?? (parts.HasFrame ? parts.Before.Count > 0 : begin is not null);
        if (beside.AddsBegin == true && begin is null)
            throw new NolaException($"{path}: add_bos_token is true and no bos_token is named.");
        // A template may begin texts with another token than the one that is named.
        if (beside.AddsBegin is null && parts.Before is [int before, ..]) begin = before;
        return new(parts, begin, begins && !model.AreGpt2, end, parts.HasFrame || beside.IsLegacy, published: model.AreGpt2);

        int? Named(string? name, string key) => name is null ? null : parts.Vocabulary.Find(name) ?? throw new NolaException(
            $"{path}: {key} is {Quoted.Of(name)}, which is no token of {parts.Vocabulary.Path}.");
    }
}
