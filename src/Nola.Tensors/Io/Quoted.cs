namespace Nola.Tensors;

/// <summary>What a message repeats of somebody's input.</summary>
internal static class Quoted
{
    /// <summary>
    /// The text between quotes, on one line, with its middle left out where it is longer than <paramref name="longest"/>.
    /// </summary>
    public static string Of(string text, int longest = 60) => $"'{NolaException.OneLine(text, longest)}'";
}
