using Nola.Tensors;

namespace Nola.Models;

/// <summary>What a <c>config.json</c> says: the sizes of a model, and everything that its family needs to build it.</summary>
public abstract record ModelConfig
{
    /// <summary>The family it is of.</summary>
    public abstract ModelFamily Family { get; }

    /// <summary>The sizes that training and decoding need.</summary>
    public abstract LanguageShape Shape { get; }

    /// <summary>Number of trained values.</summary>
    public abstract long ParameterCount { get; }

    /// <summary>The configuration as Hugging Face writes it.</summary>
    public abstract string ToJson();

    /// <summary>Builds the network from its weights.</summary>
    /// <param name="make">Reads each weight that it is asked for.</param>
    public abstract ILanguageNetwork Build(ModelBuilder make);

    /// <summary>Refuses sizes that no model can have.</summary>
    /// <param name="place">Where they came from, for messages.</param>
    /// <exception cref="NolaException">A size is out of range.</exception>
    public abstract void Check(string place);

    /// <summary>
    /// One line with all that shapes the output besides the weights. It enters the model's identity, so that it never changes for
    /// models that exist.
    /// </summary>
    public abstract string Description { get; }

    /// <summary>The line of earlier versions' identities; the same where there were none.</summary>
    internal virtual string SampledDescription => Description;

    /// <summary>The token that texts begin with (<c>bos_token_id</c>); null for none, or where the tokenizer alone knows it.</summary>
    public int? BeginToken { get; init; }

    /// <summary>
    /// The tokens that texts end with (<c>eos_token_id</c>, a number or a list); none where the tokenizer alone knows them.
    /// </summary>
    public IReadOnlyList<int> EndTokens { get; init; } = [];

    internal ModelTokens Tokens => new(Shape.Vocabulary, Family.HasGpt2Tokens, BeginToken, EndTokens);

    /// <summary>The name of the token embedding and that of the head when one table is both; null when each has its own.</summary>
    public virtual (string Embedding, string Head)? Tied => null;

    /// <summary>The same model with a head of its own, which it gets where an adapter on the head or the embedding is merged.</summary>
    public virtual ModelConfig Untied => this;

    /// <summary>Standard deviation of a new weight's normal distribution; 0 for a constant of <paramref name="mean"/>.</summary>
    /// <param name="name">The checkpoint's name.</param>
    /// <param name="mean">1 for a norm's scale, else 0.</param>
    public abstract float Deviation(string name, out float mean);
}
