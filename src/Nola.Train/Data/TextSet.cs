using Nola.Models;

namespace Nola.Train;

/// <summary>Encoded sequences of one or several sources, as a trainer learns from them.</summary>
/// <param name="mixture">The sources.</param>
/// <param name="options">How batches are made, and how much of the validation data is scored.</param>
internal sealed class TextSet(Mixture mixture, TrainOptions options) : ITrainingSet
{
    private readonly Batches batches = new(mixture, options.BatchTokens, options.BatchSize, options.Seed);
    private readonly HeldOut held = new(mixture, options.EvalPairs);
    private TokensRead? read;

    public bool IsEmpty => mixture.Sequences.Length == 0;

    public string Digest => RunIdentity.Digest(mixture.Sequences);

    public string ValidationDigest => RunIdentity.Digest([.. mixture.Sources.SelectMany(source => source.Validation)]);

    public bool HasValidation => held.Exists;

    public List<int[]> Epoch(int epoch) => batches.Epoch(epoch);

    public TokenStream Stream(int[] batch, int epoch) => batches.Stream(batch);

    public int Positions(int[] batch) => batches.Stream(batch).Targets.Length;

    public void Begin(TrainState state) => read = new TokensRead(mixture, batches, state);

    public void Count(int[] batch) => read!.Add(batch);

    public EvalReport Evaluate(IModel model, IAdapter? adapter, ICollective ranks, CancellationToken cancel)
    {
        LossResult result = held.Loss(model, adapter, read!, ranks, out IReadOnlyList<SourceReport> sources, cancel);
        return new EvalReport(0, result.Loss, result.Tokens, false) { Sources = sources };
    }
}
