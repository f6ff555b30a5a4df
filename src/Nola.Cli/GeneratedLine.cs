using System.Text.Json;
using Nola.Models;

namespace Nola.Cli;

/// <summary>A generated text as one line of output.</summary>
internal static class GeneratedLine
{
    /// <summary>
    /// The JSON object of a text: the context (where there are many), text (where the model has a tokenizer), ids, finish_reason, and
    /// when sampling the sample's index, the sequence's number and the seed, by which it can be sampled again.
    /// </summary>
    /// <param name="context">What is continued; null where there is one.</param>
    /// <param name="text">The text; null without a tokenizer.</param>
    /// <param name="ids">Its tokens, with the stop token.</param>
    /// <param name="reason">Why it ended.</param>
    /// <param name="options">By which it was generated.</param>
    /// <param name="index">Index of the text among all of the run.</param>
    public static string Json(object? context, string? text, int[] ids, FinishReason reason, GenerateOptions options, int index)
    {
        Dictionary<string, object> line = [];
        if (context is not null) line["context"] = context;
        if (text is not null) line["text"] = text;
        line["ids"] = ids;
        line["finish_reason"] = FinishReasons.NameOf(reason);
        if (options.Samples)
        {
            line["sample"] = index % options.NumSamples;
            line["sequence"] = options.FirstSequence + index;
            line["seed"] = options.Seed!;
        }
        return JsonSerializer.Serialize(line, Terminal.Readable);
    }

    /// <summary>Token ids in the form that <c>--ids</c> takes.</summary>
    public static string Ids(int[] ids) => string.Join(',', ids);
}
