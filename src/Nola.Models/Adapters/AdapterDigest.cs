using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace Nola.Models;

/// <summary>
/// A digest of an adapter's settings and trained values:
/// SHA-256 over the options, and over each tensor's name and values.
/// </summary>
internal sealed class AdapterDigest
{
    private readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public AdapterDigest(AdapterOptions options)
    {
        Add(options.Method.Name);
        foreach (AdapterOption option in options.Method.Options) Add($"{option.Key} {option.Text(options)}");
    }

    /// <summary>Takes in a tensor.</summary>
    public void Add(string name, ReadOnlySpan<float> values)
    {
        Add($"{name} {values.Length}");
        hash.AppendData(MemoryMarshal.AsBytes(values));
    }

    /// <summary>The first 32 hex digits.</summary>
    public override string ToString() => Convert.ToHexStringLower(hash.GetCurrentHash())[..32];

    private void Add(string line) => hash.AppendData(Encoding.UTF8.GetBytes(line + "\n"));
}
