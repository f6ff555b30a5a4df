namespace Nola.Models;

/// <summary>Whose rules a beam search follows; they differ in when a beam ends, in what is counted and in what is banned.</summary>
public enum BeamRules
{
    /// <summary>
    /// Those of the LoRA and NOLA code, by which published scores were made. A beam that ends takes one of the places of its
    /// step, and the best of all, ended or not, wins after the last step. Penalties, bans and the length see generated tokens
    /// only, and probabilities are normalized after them.
    /// </summary>
    Published,

    /// <summary>
    /// Those of Hugging Face Transformers without early stopping. Beams that end make room, as many as there are beams are
    /// collected, and the search ends when the best that goes on scores no better than the worst of these. Penalties and bans
    /// see the prompt too and change log-probabilities; the length is that of the generated tokens.
    /// </summary>
    HuggingFace,
}

/// <summary>What beam rules are called on the command line and in files.</summary>
internal static class BeamRulesNames
{
    private const string Published = "published", HuggingFace = "huggingface";

    /// <summary>All names, for messages.</summary>
    public const string Known = $"{Published} or {HuggingFace}";

    /// <summary>The name of rules.</summary>
    public static string Of(BeamRules rules) => rules == BeamRules.Published ? Published : HuggingFace;

    /// <summary>The rules of a name, in any case; null when nothing is called so.</summary>
    public static BeamRules? Find(string name) => name.ToLowerInvariant() switch
    {
        Published => BeamRules.Published,
        HuggingFace => BeamRules.HuggingFace,
        _ => null,
    };
}
