namespace Nola.Models;

/// <summary>Token sequences as keys: equal when they hold the same ids.</summary>
internal static class TokenSequences
{
    /// <summary>Compares what the arrays hold.</summary>
    public static IEqualityComparer<int[]> Comparer { get; } = EqualityComparer<int[]>.Create(
        static (a, b) => a.AsSpan().SequenceEqual(b),
        static ids =>
        {
            HashCode hash = new();
            foreach (int id in ids) hash.Add(id);
            return hash.ToHashCode();
        });
}
