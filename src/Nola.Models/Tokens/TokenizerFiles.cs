using Nola.Tensors;

namespace Nola.Models;

/// <summary>Finds the tokenizer of a model by the files beside its weights.</summary>
internal static class TokenizerFiles
{
    /// <summary>GPT-2's form: the tokens with their ids, and the merges.</summary>
    internal const string Vocabulary = "vocab.json", Merges = "merges.txt";

    private static readonly string[] all = [Vocabulary, Merges, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

    /// <summary>
    /// The own <c>vocab.json</c> and <c>merges.txt</c> of a model's directory when it has them, else GPT-2's, which fits every model
    /// with a vocabulary as large; null where neither is.
    /// </summary>
    /// <param name="directory">Where the model's files are; null when it has none.</param>
    /// <param name="vocabulary">Number of tokens that the model knows.</param>
    /// <exception cref="NolaException">There are files, and they do not fit the model.</exception>
    public static ITokenizer? Find(string? directory, int vocabulary)
    {
        if (directory is null) return Default(vocabulary);
        string tokens = Path.Combine(directory, Vocabulary), merges = Path.Combine(directory, Merges);
        if (File.Exists(tokens) != File.Exists(merges))
        {
            (string there, string missing) = File.Exists(tokens) ? (Vocabulary, Merges) : (Merges, Vocabulary);
            throw new NolaException(
                $"{directory}: has {there} and no {missing}; put both of the tokenizer's files there, or neither for GPT-2's.");
        }
        if (!File.Exists(tokens)) return Default(vocabulary);
        Gpt2Tokenizer own = Gpt2Tokenizer.FromFiles(tokens, merges);
        if (own.Vocabulary <= vocabulary) return own;
        throw new NolaException(
            $"{tokens}: has {own.Vocabulary} tokens and the model's vocabulary is {vocabulary}; the files do not belong together.");
    }

    /// <summary>What is said when there is none.</summary>
    /// <param name="model">What the model is called.</param>
    /// <param name="vocabulary">Number of tokens that it knows.</param>
    public static NolaException None(string model, int vocabulary) => new(
        $"{model}: its vocabulary is {vocabulary} and not GPT-2's {Gpt2Tokenizer.GptVocabulary}, "
        + $"and there is no {Vocabulary} with {Merges} beside it; give token ids in place of text.");

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

    private static Gpt2Tokenizer? Default(int vocabulary) => vocabulary >= Gpt2Tokenizer.GptVocabulary ? Gpt2Tokenizer.Default : null;
}
