using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>What a model's <c>generation_config.json</c> says, as far as it is followed: the tokens that end a text.</summary>
internal static class GenerationConfig
{
    private const string FileName = "generation_config.json", EndKey = "eos_token_id";

    /// <summary>
    /// The end tokens that the file names, else those of the model's configuration. GPT-2's kin leave them to their tokenizer.
    /// </summary>
    /// <param name="directory">Where the model's files are; null when it has none.</param>
    /// <param name="config">What its <c>config.json</c> says.</param>
    /// <exception cref="NolaException">It is not JSON, or names something else than tokens.</exception>
    public static IEnumerable<int> EndTokens(string? directory, ModelConfig config)
    {
        IReadOnlyList<int> tokens = config.EndTokens;
        string path = Path.Combine(directory ?? "", FileName);
        if (directory is not null && !config.Family.HasGpt2Tokens && File.Exists(path))
        {
            using JsonDocument document = JsonInput.Read(path);
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new NolaException($"{path}: expected a JSON object.");
            if (new ConfigFields(document.RootElement, path).Tokens(EndKey) is { Count: > 0 } named) tokens = named;
        }
        // Some write −1 for none.
        return tokens.Where(token => token >= 0);
    }
}
