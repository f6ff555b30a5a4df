using Nola.Tensors;

namespace Nola.Models;

/// <summary>The tokenizer of a model.</summary>
public static class ModelTokenizer
{
    /// <summary>
    /// The model directory's own <c>vocab.json</c> and <c>merges.txt</c> when it has them, else GPT-2's, which fits every
    /// model with GPT-2's vocabulary.
    /// </summary>
    /// <exception cref="NolaException">The model has another vocabulary and no tokenizer files, so that text cannot be encoded for it.</exception>
    public static Gpt2Tokenizer For(string model, Gpt2Config config)
    {
        if (model != Gpt2.EmbeddedName || Directory.Exists(model))
        {
            string directory = ModelLocator.Current.Find(model);
            string vocabulary = Path.Combine(directory, "vocab.json"), merges = Path.Combine(directory, "merges.txt");
            if (File.Exists(vocabulary) && File.Exists(merges))
            {
                Gpt2Tokenizer own = Gpt2Tokenizer.FromFiles(vocabulary, merges);
                if (own.Vocabulary <= config.Vocabulary) return own;
                throw new NolaException($"{vocabulary}: has {own.Vocabulary} tokens and the model's vocabulary is {config.Vocabulary}; the files do not belong together.");
            }
        }
        if (config.Vocabulary >= Gpt2Tokenizer.GptVocabulary) return Gpt2Tokenizer.Default;
        throw new NolaException($"{model}: its vocabulary is {config.Vocabulary} and not GPT-2's {Gpt2Tokenizer.GptVocabulary}, and there is no vocab.json with merges.txt beside it; give token ids in place of text.");
    }

    /// <summary>Whether a model has a tokenizer: GPT-2's vocabulary, or files of its own.</summary>
    internal static bool Has(string model, Gpt2Config config)
    {
        if (config.Vocabulary >= Gpt2Tokenizer.GptVocabulary) return true;
        string directory = ModelLocator.Current.Find(model);
        return File.Exists(Path.Combine(directory, "vocab.json")) && File.Exists(Path.Combine(directory, "merges.txt"));
    }
}
