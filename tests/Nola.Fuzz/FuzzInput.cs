namespace Nola.Fuzz;

/// <summary>A way to damage a file: its bytes, the choices, and other files of the kind to splice from.</summary>
internal delegate byte[] Mutation(byte[] data, Dice dice, IReadOnlyList<byte[]> others);

/// <summary>What one attempt reads.</summary>
/// <param name="Files">Names below the attempt's directory, and bytes.</param>
/// <param name="IsWhole">Whether nothing was damaged, so that it must be accepted.</param>
internal sealed record FuzzInput(IReadOnlyList<(string Name, byte[] Bytes)> Files, bool IsWhole)
{
    // Repetition makes files of any size, and what a file of a gigabyte takes is no fault. More than a configuration may have.
    private const int Longest = 20 << 20;

    /// <summary>Names below the attempt's directory, and bytes; what is very long was cut off.</summary>
    public IReadOnlyList<(string Name, byte[] Bytes)> Files { get; } =
        [.. Files.Select(file => (file.Name, file.Bytes.Length > Longest ? file.Bytes[..Longest] : file.Bytes))];
}
