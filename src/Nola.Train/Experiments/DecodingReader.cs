using System.Globalization;
using System.Numerics;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>The <c>decoding</c> of an experiment file: options of <c>nola generate</c> by the same names.</summary>
internal static class DecodingReader
{
    private static readonly string[] keys =
    [
        "beams", "beam-rules", "length-penalty", "no-repeat-ngram", "repetition-penalty", "min-new", "max-new", "stop",
    ];

    /// <summary>The published decoding, changed by what the object has.</summary>
    /// <exception cref="NolaException">A key is not known, or a value is out of its range.</exception>
    public static GenerateOptions Read(JsonElement from, string place)
    {
        if (from.ValueKind != JsonValueKind.Object) throw new NolaException($"{place}: expected an object of {string.Join(", ", keys)}.");
        GenerateOptions options = GenerateOptions.Published;
        foreach (JsonProperty property in from.EnumerateObject())
        {
            options = property.Name switch
            {
                "beams" => options with { Beams = Whole(property, place) },
                "beam-rules" => options with { BeamRules = Rules(property, place) },
                "length-penalty" => options with { LengthPenalty = Number<double>(property, place) },
                "no-repeat-ngram" => options with { NoRepeatNgram = Whole(property, place) },
                "repetition-penalty" => options with { RepetitionPenalty = Number<float>(property, place) },
                "min-new" => options with { MinNewTokens = Whole(property, place) },
                "max-new" => options with { MaxNewTokens = Whole(property, place) },
                "stop" => options with { StopTokens = Ids(property, place) },
                string other => throw Unknown(other, place),
            };
        }
        try
        {
            options.Validate();
        }
        catch (NolaException error)
        {
            throw new NolaException($"{place}: {error.Message}", error);
        }
        return options;
    }

    /// <summary>Everything that decides the outputs, in one line.</summary>
    public static string Describe(GenerateOptions o) => string.Create(CultureInfo.InvariantCulture,
        $"{o.Beams} beams ({BeamRulesNames.Of(o.BeamRules)}), length penalty {o.LengthPenalty}, no {o.NoRepeatNgram}-gram twice, "
        + $"repetition penalty {o.RepetitionPenalty}, {o.MinNewTokens} to {o.MaxNewTokens} new tokens, "
        + $"stop at {(o.StopTokens is null ? "the end of text or a blank line" : string.Join(", ", o.StopTokens))}");

    private static int Whole(JsonProperty p, string place)
    {
        if (IsNumber(p.Value) && StrictNumber.TryWhole(p.Value.GetRawText(), out int number)) return number;
        throw Bad(p, place, "a whole number");
    }

    private static T Number<T>(JsonProperty p, string place) where T : struct, IBinaryFloatingPointIeee754<T>
    {
        if (IsNumber(p.Value) && StrictNumber.TryReal(p.Value.GetRawText(), out T number)) return number;
        throw Bad(p, place, "a finite number, such as 0.8");
    }

    private static bool IsNumber(JsonElement value) => value.ValueKind == JsonValueKind.Number;

    private static BeamRules Rules(JsonProperty p, string place) =>
        (p.Value.ValueKind == JsonValueKind.String ? BeamRulesNames.Find(p.Value.GetString()!) : null)
            ?? throw Bad(p, place, BeamRulesNames.Known);

    private static int[] Ids(JsonProperty p, string place)
    {
        const string Expected = "a list of token ids";
        if (p.Value.ValueKind != JsonValueKind.Array) throw Bad(p, place, Expected);
        return [.. p.Value.EnumerateArray().Select(Id)];

        int Id(JsonElement value) => IsNumber(value) && value.TryGetInt32(out int id) && id >= 0 ? id : throw Bad(p, place, Expected);
    }

    private static NolaException Unknown(string key, string place) =>
        new($"{place}: the key {Quoted.Of(key)} is not known; did you mean '{Spelling.Nearest(key, keys)}'? "
            + $"Known keys: {string.Join(", ", keys)}.");

    private static NolaException Bad(JsonProperty p, string place, string expected) =>
        new($"{place}: \"{p.Name}\" is {NolaException.OneLine(p.Value.GetRawText(), 60)}; expected {expected}.");
}
