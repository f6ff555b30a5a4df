using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>The sequences of a training configuration, encoded for its model.</summary>
/// <param name="Training">What is learned.</param>
/// <param name="Validation">What is evaluated on; may be empty.</param>
internal sealed record TrainData(EncodedPair[] Training, EncodedPair[] Validation)
{
    /// <summary>Reads and encodes what a configuration names.</summary>
    /// <exception cref="NolaException">A file is missing or malformed, or a pair does not fit the model.</exception>
    public static TrainData Read(TrainConfig config, LanguageModel model)
    {
        if (config.Text.Count > 0)
        {
            ITokenizer tokenizer = model.Tokenizer;
            int window = model.Shape.Positions;
            return new(
                PlainText.Read(config.Text, tokenizer, window),
                config.Valid.Length > 0 ? PlainText.Read([config.Valid], tokenizer, window) : []);
        }
        bool embedded = config.UsesEmbeddedData;
        TextPairs training = TextPairs.Open(embedded ? config.Data + ":train" : config.Data);
        string held = config.Valid.Length > 0 || !embedded ? config.Valid : config.Data + ":dev";
        TextPairs? validation = held.Length > 0 ? TextPairs.Open(held) : null;
        return new(Encoded(training), validation is null ? [] : Encoded(validation));

        EncodedPair[] Encoded(TextPairs pairs) => PairEncoder.EncodeFor(model, pairs, config.Truncate, config.Chat);
    }
}
