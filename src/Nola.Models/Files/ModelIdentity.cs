using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Digests of a model that adapter files name their base by. Specified in docs/adapter-file.md. They tell models apart that were
/// taken for each other by mistake; nobody is kept from making two models with the same one.
/// </summary>
internal static class ModelIdentity
{
    // Before every identity of the present kind; the kind before had nothing.
    private const string Version = "2:";

    /// <summary>Whether a file's identity is of the kind that looked at samples of the weights.</summary>
    public static bool IsSampled(string identity) => identity.Length == 32 && identity.All(char.IsAsciiHexDigitLower);

    /// <summary>A digest of all that shapes the output: the configuration, and every value of every weight.</summary>
    /// <param name="configuration">What the configuration says, in one line.</param>
    /// <param name="weights">Each weight by its checkpoint name.</param>
    public static string Of(string configuration, IEnumerable<(string Name, WeightDigest Digest)> weights)
    {
        StringBuilder text = new();
        text.Append(configuration).Append('\n');
        foreach ((string name, WeightDigest digest) in weights.OrderBy(w => w.Name, StringComparer.Ordinal))
            text.Append(CultureInfo.InvariantCulture, $"{Line(name, digest)} {digest.Hash}\n");
        return Version + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())))[..32];
    }

    /// <summary>The digest of earlier versions: sizes, and at most 256 evenly spaced values of every weight.</summary>
    /// <param name="sizes">The sizes, in one line.</param>
    /// <param name="weights">Each weight by its checkpoint name.</param>
    public static string Sampled(string sizes, IEnumerable<(string Name, WeightDigest Digest)> weights)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(sizes + "\n"));
        foreach ((string name, WeightDigest digest) in weights.OrderBy(w => w.Name, StringComparer.Ordinal))
        {
            hash.AppendData(Encoding.UTF8.GetBytes(Line(name, digest) + "\n"));
            hash.AppendData(MemoryMarshal.AsBytes(digest.Sample));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..32];
    }

    private static string Line(string name, WeightDigest digest) => $"{name} {string.Join('x', digest.Shape.Dimensions())}";
}
