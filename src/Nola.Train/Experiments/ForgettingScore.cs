using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// What training took from the base model: the mean loss on texts that have nothing to do with the task, less that of the base model,
/// in nats a token; as PEFT's method_comparison measures it on a hundred articles of Wikipedia.
/// </summary>
/// <param name="texts">Where the texts are; empty where the experiment names no place.</param>
internal sealed class ForgettingScore(string texts) : IExperimentScore
{
    /// <summary>What an experiment file calls it.</summary>
    public const string Called = "forgetting";

    // PEFT's max_length.
    private const int LongestText = 768;

    private TextPairs? read;
    private ((string Model, WeightFormat Storage) Base, double Loss)? before;

    /// <inheritdoc/>
    public string Name => Called;

    /// <inheritdoc/>
    public string Settings => $"nats a token above the base model's, first {LongestText} tokens of each text of {texts}";

    /// <inheritdoc/>
    public IReadOnlyList<string> Columns => [Called];

    /// <inheritdoc/>
    public void Prepare(TextPairs test)
    {
        if (texts.Length == 0) throw new NolaException($"The score '{Called}' needs \"{Called}\", a file of texts to measure it on.");
        read ??= TextPairs.Open(texts);
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, double> Measure(ScoreInput input, CancellationToken cancel)
    {
        Prepare(input.Test);
        EncodedPair[] encoded = [.. read!.Select(text => Encode(text, input.Model))];
        bool untrained = input.Adapter is null && input.Model.Source == input.BaseModel;
        // A base that is kept in fewer bits has another loss.
        (string, WeightFormat) baseModel = (input.BaseModel, input.Model.Maps[0].Frozen?.Format ?? WeightFormat.Float32);
        if (before is not { } known || known.Base != baseModel) before = known = (baseModel, Before());
        return new Dictionary<string, double>
        {
            [Called] = untrained ? 0 : Loss(input.Model, input.Adapter) - known.Loss,
        };

        double Before()
        {
            if (input.Adapter is not null || untrained) return Loss(input.Model, null);
            // All of this one was trained.
            using LanguageModel model = LanguageModel.Load(input.BaseModel, input.Model.Device);
            return Loss(model, null);
        }

        double Loss(LanguageModel model, IAdapter? adapter) => Evaluation.Loss(model, encoded, adapter, cancel: cancel).Loss;
    }

    // Read from the first token on, which is not predicted; without an end.
    private static EncodedPair Encode(TextPair text, LanguageModel model)
    {
        int[] ids = model.Tokenizer.EncodePrompt(text.Completion);
        ids = ids[..Math.Min(ids.Length, Math.Min(LongestText, model.Shape.Positions))];
        return ids.Length > 1 ? new EncodedPair(ids[..1], ids[1..])
            : throw new NolaException($"{text.Place}: the text has {ids.Length} token; the score '{Called}' needs at least two.");
    }
}
