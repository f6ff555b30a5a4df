using System.Text.Json;
using Nola.Models;

namespace Nola.Cli;

/// <summary>A generated text as one line of output.</summary>
internal static class GeneratedLine
{
    /// <summary>
    /// The JSON object of a text: the context (where there are many), text (where the model has a tokenizer), ids, finish_reason, and
    /// when sampling the sample's index and the seed.
    /// </summary>
    public static string Json(object? context, string? text, int[] ids, FinishReason reason, GenerateOptions options, int sample)
    {
        Dictionary<string, object> line = [];
        if (context is not null) line["context"] = context;
        if (text is not null) line["text"] = text;
        line["ids"] = ids;
        line["finish_reason"] = FinishReasons.NameOf(reason);
        if (options.Samples)
        {
            line["sample"] = sample;
            line["seed"] = options.Seed!;
        }
        return JsonSerializer.Serialize(line, Terminal.Readable);
    }

    /// <summary>Token ids in the form that <c>--ids</c> takes.</summary>
    public static string Ids(int[] ids) => string.Join(',', ids);
}
