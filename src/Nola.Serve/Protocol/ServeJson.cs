using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Nola.Serve;

/// <summary>How answers are written as JSON; names as the API has them, and text as it reads.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(Completion))]
[JsonSerializable(typeof(ChatCompletion))]
[JsonSerializable(typeof(ChatChunk))]
[JsonSerializable(typeof(ModelList))]
[JsonSerializable(typeof(ModelEntry))]
[JsonSerializable(typeof(Health))]
[JsonSerializable(typeof(Tokenized))]
[JsonSerializable(typeof(Detokenized))]
[JsonSerializable(typeof(TokenizerInfo))]
[JsonSerializable(typeof(AdapterAnswer))]
[JsonSerializable(typeof(ErrorBody))]
internal sealed partial class ServeJson : JsonSerializerContext
{
    /// <summary>What every answer is written with.</summary>
    public static ServeJson Wire { get; } = new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    });
}
