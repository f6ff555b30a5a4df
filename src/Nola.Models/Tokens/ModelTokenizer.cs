using Nola.Tensors;

namespace Nola.Models;

/// <summary>The tokenizer of a model.</summary>
public static class ModelTokenizer
{
    private const string Vocabulary = "vocab.json", Merges = "merges.txt";

    /// <summary>
    /// The own <c>vocab.json</c> and <c>merges.txt</c> of the directory that the model was loaded from when it has them, else GPT-2's,
    /// which fits every model with GPT-2's vocabulary.
    /// </summary>
    /// <exception cref="NolaException">The model has another vocabulary and no tokenizer files, so that text cannot be encoded for it.</exception>
    public static Gpt2Tokenizer For(Gpt2 model) => model.IsCreated
        ? Default(model.Config) ?? throw None("The created model", model.Config)
        : For(model.Source, model.Config);

    /// <summary>The same for a model that need not be loaded.</summary>
    /// <param name="model">Name or directory.</param>
    /// <param name="config">Its sizes.</param>
    /// <exception cref="NolaException">The model has another vocabulary and no tokenizer files, so that text cannot be encoded for it.</exception>
    public static Gpt2Tokenizer For(string model, Gpt2Config config) => Find(model, config) ?? throw None(model, config);

    /// <summary>The same, or null for a model of another vocabulary that has no tokenizer files.</summary>
    /// <exception cref="NolaException">There are files, and they do not fit the model.</exception>
    internal static Gpt2Tokenizer? Find(string model, Gpt2Config config)
    {
        if (model == Gpt2.EmbeddedName && !Directory.Exists(model)) return Default(config);
        string directory = ModelLocator.Current.Find(model);
        string vocabulary = Path.Combine(directory, Vocabulary), merges = Path.Combine(directory, Merges);
        if (File.Exists(vocabulary) != File.Exists(merges))
        {
            (string there, string missing) = File.Exists(vocabulary) ? (Vocabulary, Merges) : (Merges, Vocabulary);
            throw new NolaException(
                $"{directory}: has {there} and no {missing}; put both of the tokenizer's files there, or neither for GPT-2's.");
        }
        if (!File.Exists(vocabulary)) return Default(config);
        Gpt2Tokenizer own = Gpt2Tokenizer.FromFiles(vocabulary, merges);
        if (own.Vocabulary <= config.Vocabulary) return own;
        throw new NolaException(
            $"{vocabulary}: has {own.Vocabulary} tokens and the model's vocabulary is {config.Vocabulary}; "
            + "the files do not belong together.");
    }

    private static Gpt2Tokenizer? Default(Gpt2Config config) =>
        config.Vocabulary >= Gpt2Tokenizer.GptVocabulary ? Gpt2Tokenizer.Default : null;

    private static NolaException None(string model, Gpt2Config config) => new(
        $"{model}: its vocabulary is {config.Vocabulary} and not GPT-2's {Gpt2Tokenizer.GptVocabulary}, "
        + $"and there is no {Vocabulary} with {Merges} beside it; give token ids in place of text.");
}
