using Nola.Tensors;

namespace Nola.Train;

/// <summary>Opening what a name of data stands for: a text file, unpacked when it is called <c>.gz</c>, or standard input.</summary>
internal static class DataInput
{
    /// <summary>The name of standard input.</summary>
    public const string StandardInput = "-";

    private static int standardInputs;

    /// <summary>What to call it in messages.</summary>
    public static string Place(string path) => path == StandardInput ? "standard input" : path;

    /// <summary>Opens it for reading.</summary>
    /// <exception cref="NolaException">It is missing or may not be read, or is standard input for the second time.</exception>
    public static TextInput Open(string path)
    {
        if (path != StandardInput) return TextInput.Open(path);
        if (Interlocked.Increment(ref standardInputs) > 1)
            throw new NolaException("Standard input (-) is asked for twice, and it can be read only once; give a file for one of them.");
        return TextInput.Of(Console.OpenStandardInput(), Place(path));
    }
}
