using System.Globalization;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary>What all requests for texts have in common: the fields that say how a text is continued.</summary>
internal static class SamplingFields
{
    private const int MostStops = 64, MostBiases = 1000, LongestStop = 1000;

    // What identifies a caller or a place where answers are kept; this server has neither.
    private static readonly string[] ignored =
        ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

    /// <summary>Reads the options of decoding.</summary>
    /// <param name="fields">The request.</param>
    /// <param name="model">What answers.</param>
    /// <param name="form">How the prompts are written.</param>
    /// <param name="maxTokens">Most new tokens.</param>
    /// <exception cref="ApiException">A field is out of range, or asks for what there is not.</exception>
    public static GenerateOptions Read(RequestFields fields, LanguageModel model, PromptForm form, int maxTokens)
    {
        fields.Ignore(ignored);
        OnlyNeutral(fields);
        (float temperature, int topK, float topP) = Drawing(fields);
        int least = fields.Int("min_tokens", 0, int.MaxValue) ?? 0;
        if (least > maxTokens)
            throw ApiException.Bad(
                "min_tokens", $"min_tokens is {least}; expected at most max_tokens, which is {maxTokens}.", "invalid_value");
        GenerateOptions options = new()
        {
            MaxNewTokens = maxTokens,
            MinNewTokens = least,
            Temperature = temperature,
            TopK = topK,
            TopP = topP,
            Seed = fields.Whole("seed", long.MinValue, long.MaxValue) is { } seed ? unchecked((ulong)seed) : null,
            PresencePenalty = (float)(fields.Real("presence_penalty", -2, 2) ?? 0),
            FrequencyPenalty = (float)(fields.Real("frequency_penalty", -2, 2) ?? 0),
            RepetitionPenalty = (float)(fields.Real("repetition_penalty", 0, 100, above: true) ?? 1),
            NoRepeatNgram = fields.Int("no_repeat_ngram_size", 0, int.MaxValue) ?? 0,
            LogitBias = Bias(fields, model.Shape.Vocabulary),
            StopStrings = Stops(fields),
        };
        return WithStopTokens(fields, Complete(form, model, options));
    }

    /// <summary>Most new tokens: what was asked for, or what the model can read.</summary>
    public static int MaxTokens(int? asked, LanguageModel model) => Math.Min(asked ?? model.Shape.Positions, model.Shape.Positions);

    /// <summary>How many texts there are to be for each prompt.</summary>
    /// <exception cref="ApiException">It is out of range.</exception>
    public static int Samples(RequestFields fields) => fields.Int("n", 1, GenerateRequest.MostSamples) ?? 1;

    /// <summary>Whether the texts are sent as they come, and whether their numbers of tokens follow.</summary>
    /// <exception cref="ApiException">The options of a stream are given without one.</exception>
    public static (bool Stream, bool IncludeUsage) Streaming(RequestFields fields)
    {
        bool stream = fields.Flag("stream");
        if (!fields.TryGet("stream_options", out JsonElement options)) return (stream, false);
        if (!stream) throw ApiException.Bad("stream_options", "stream_options is given without a stream; leave it out.", "invalid_value");
        RequestFields own = new(options, "stream_options");
        bool usage = own.Flag("include_usage");
        own.Only("include_obfuscation", value => value.ValueKind == JsonValueKind.False, "false");
        own.RefuseOthers();
        return (stream, usage);
    }

    /// <summary>Refuses a prompt that the model cannot read.</summary>
    /// <exception cref="ApiException">It is empty, too long, or has a token that there is not.</exception>
    public static void Check(int[] prompt, string field, LanguageModel model)
    {
        if (prompt.Length == 0) throw ApiException.Bad(field, $"{field} is empty; expected at least one token.", "invalid_value");
        int positions = model.Shape.Positions, vocabulary = model.Shape.Vocabulary;
        if (prompt.Length > positions)
            throw ApiException.Bad(
                field, $"{field} has {prompt.Length} tokens, and the model's maximum context length is {positions} tokens; shorten it.",
                "context_length_exceeded");
        foreach (int id in prompt)
            if (id >= vocabulary)
                throw ApiException.Bad(
                    field, $"{field} has the token id {id}, which is outside the model's vocabulary of {vocabulary}.", "invalid_value");
    }

    // Whoever takes the likeliest token each time draws nothing, whatever else he says of drawing.
    private static (float Temperature, int TopK, float TopP) Drawing(RequestFields fields)
    {
        float temperature = (float)(fields.Real("temperature", 0, 100) ?? 1);
        float topP = (float)(fields.Real("top_p", 0, 1) ?? 1);
        int topK = fields.Int("top_k", -1, int.MaxValue) ?? 0;
        return temperature == 0 || topP == 0 ? (0, 0, 1) : (temperature, Math.Max(topK, 0), topP);
    }

    private static GenerateOptions Complete(PromptForm form, LanguageModel model, GenerateOptions options)
    {
        try
        {
            return form.Complete(model, options);
        }
        catch (NolaException error)
        {
            throw ApiException.Bad(null, error.Message, "invalid_value");
        }
    }

    private static GenerateOptions WithStopTokens(RequestFields fields, GenerateOptions options)
    {
        IReadOnlyList<int> more = fields.Ids("stop_token_ids") ?? [];
        bool none = fields.Flag("ignore_eos");
        return options with { StopTokens = none ? more : [.. options.StopTokens!.Union(more)] };
    }

    private static IReadOnlyList<string> Stops(RequestFields fields)
    {
        IReadOnlyList<string> stops = fields.Texts("stop", MostStops);
        foreach (string stop in stops)
            if (stop.Length is 0 or > LongestStop)
                throw ApiException.Bad(
                    "stop", $"stop has a text of {stop.Length} characters; expected 1 to {LongestStop}.", "invalid_value");
        return stops;
    }

    private static Dictionary<int, float>? Bias(RequestFields fields, int vocabulary)
    {
        if (!fields.TryGet("logit_bias", out JsonElement given)) return null;
        string expected = $"an object with at most {MostBiases} token ids below {vocabulary}, each with a number from -100 to 100";
        if (given.ValueKind != JsonValueKind.Object) throw fields.Wrong("logit_bias", given, expected);
        Dictionary<int, float> bias = [];
        foreach (JsonProperty property in given.EnumerateObject())
        {
            bool known = int.TryParse(property.Name, NumberStyles.None, CultureInfo.InvariantCulture, out int id) && id < vocabulary;
            if (!known || bias.Count == MostBiases || RequestFields.Number(property.Value, -100, 100) is not { } value)
            {
                string pair = $"{Quoted.Of(property.Name, 20)}: {RequestFields.Shown(property.Value)}";
                throw ApiException.Bad("logit_bias", $"logit_bias has {pair}; expected {expected}.", "invalid_value");
            }
            // 1 and 01 are one token.
            bias[id] = (float)value;
        }
        return bias.Count > 0 ? bias : null;
    }

    // Fields of other servers, and of OpenAI's, in the one value in which they change nothing.
    private static void OnlyNeutral(RequestFields fields)
    {
        fields.Only("min_p", value => RequestFields.Number(value, 0, 0) is not null, "0");
        fields.Only("use_beam_search", IsFalse, "false");
        fields.Only("include_stop_str_in_output", IsFalse, "false");
        fields.Only("skip_special_tokens", IsTrue, "true");
        fields.Only("spaces_between_special_tokens", IsTrue, "true");
        fields.Only("response_format", IsText, """{"type": "text"}""");
        foreach (string list in (ReadOnlySpan<string>)["tools", "functions"]) fields.Only(list, IsEmpty, "an empty list");
        fields.Only("tool_choice", IsAny("none", "auto"), "'none'");
        fields.Only("function_call", IsAny("none", "auto"), "'none'");
        // Without tools there is nothing to call, at once or one after another.
        fields.Ignore("parallel_tool_calls");
    }

    private static bool IsFalse(JsonElement value) => value.ValueKind == JsonValueKind.False;

    private static bool IsTrue(JsonElement value) => value.ValueKind == JsonValueKind.True;

    private static bool IsEmpty(JsonElement value) => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0;

    private static bool IsText(JsonElement value) =>
        value.ValueKind == JsonValueKind.Object && value.TryGetProperty("type", out JsonElement type)
        && type.ValueKind == JsonValueKind.String && type.ValueEquals("text");

    private static Func<JsonElement, bool> IsAny(params string[] words) =>
        value => value.ValueKind == JsonValueKind.String && words.Contains(value.GetString());
}
