using System.CommandLine;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola loss</c>: the mean loss over completion tokens.</summary>
internal static class LossCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Option<string> pairs = new("--pairs")
        {
            Description = "Pairs in any form that train reads (also token ids instead of text), "
                + "- for standard input, or e2e:dev, e2e:test, e2e:train",
            Required = true,
        };
        Option<float> smoothing = new RealOption<float>("--label-smoothing") { Description = "Label smoothing over the whole vocabulary" };
        Option<bool> truncate = new("--truncate") { Description = "Cut contexts that are too long from the left instead of refusing them" };
        Option<bool> chat = new("--chat")
        {
            Description = "Write conversations, and pairs as conversations, by the model's chat template; answers alone count",
        };
        Option<string> subset = DataConvertCommand.Subset();
        Command command = new("loss", "Score pairs: the mean loss over their completion tokens.")
        {
            pairs, subset, smoothing, truncate, chat, common.Json,
        };
        common.AddTo(command);
        command.Does((r, cancel) => Ranks.Run(ranks => common.WithModel(r, ranks, (model, adapter) =>
        {
            float epsilon = r.GetValue(smoothing);
            if (epsilon is not (>= 0 and < 1))
                throw new NolaException($"--label-smoothing is {epsilon}; expected 0 up to, not including, 1.");
            TextPairs data = TextPairs.Open(r.GetValue(pairs)!, DataConvertCommand.Read(r.GetValue(subset)!));
            EncodedPair[] encoded = PairEncoder.EncodeFor(model, data, r.GetValue(truncate), r.GetValue(chat));
            LossResult result = Evaluation.Loss(model, encoded, adapter, ranks, cancel, epsilon);
            if (!double.IsFinite(result.Loss))
                throw new NolaException(
                    $"The loss is not a finite number ({result.Loss}): a weight of the model or of the adapter is not finite, or far too " +
                    "large; train it again, or take another.");
            if (r.GetValue(common.Json)) Terminal.Json(new { loss = result.Loss, tokens = result.Tokens, perplexity = result.Perplexity });
            else Console.Out.WriteLine($"loss {result.Loss:F6} over {result.Tokens:N0} tokens (perplexity {result.Perplexity:F2})");
            return 0;
        })));
        return command;
    }
}
