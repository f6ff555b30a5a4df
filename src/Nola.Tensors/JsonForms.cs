using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Nola.Tensors;

/// <summary>
/// How JSON is written. What a type consists of is looked up by reflection, which these options say themselves: a program can turn it off
/// for those that do not, and a file-based program (<c>dotnet run program.cs</c>) does.
/// </summary>
internal static class JsonForms
{
    /// <summary>On one line, with everything beyond ASCII escaped.</summary>
    public static JsonSerializerOptions Plain { get; } = ByReflection(new());

    /// <summary>The same on lines of its own.</summary>
    public static JsonSerializerOptions Indented { get; } = ByReflection(new() { WriteIndented = true });

    /// <summary>On one line, names in any script as they are.</summary>
    public static JsonSerializerOptions Readable { get; } = ByReflection(new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    /// <summary>These options, with types looked up by reflection.</summary>
    public static JsonSerializerOptions ByReflection(JsonSerializerOptions options)
    {
        options.TypeInfoResolver = new DefaultJsonTypeInfoResolver();
        return options;
    }
}
