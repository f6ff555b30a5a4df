namespace Nola.Fuzz;

/// <summary>A way to damage a file: its bytes, the choices, and other files of the kind to splice from.</summary>
internal delegate byte[] Mutation(byte[] data, Dice dice, IReadOnlyList<byte[]> others);

/// <summary>What one attempt reads.</summary>
/// <param name="Files">Names below the attempt's directory, and bytes.</param>
/// <param name="IsWhole">Whether nothing was damaged, so that it must be accepted.</param>
internal sealed record FuzzInput(IReadOnlyList<(string Name, byte[] Bytes)> Files, bool IsWhole);
