using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// What an adapter may be called: a name is never a path, but it is often made from one, and appears in messages and URLs.
/// </summary>
internal static class AdapterName
{
    private const int Longest = 200;

    /// <summary>Whether a text can be the name of an adapter.</summary>
    public static bool IsValid(string name) => name.Length is > 0 and <= Longest
        && name.Trim() == name && name.IsNormalized()
        && !name.Any(c => char.IsControl(c) || char.IsSurrogate(c) || c is '\\' or '\u2028' or '\u2029')
        && name.Split('/').All(part => part is not ("" or "." or ".."));

    /// <summary>Refuses what cannot be the name of an adapter.</summary>
    /// <exception cref="NolaException">It is empty, too long, or looks like a path that leads somewhere else.</exception>
    public static void Check(string name)
    {
        if (!IsValid(name))
            throw new NolaException(
                $"{Quoted.Of(name)} cannot be the name of an adapter; "
                + $"expected at most {Longest} characters, without parts that are empty or dots, such as '..'.");
    }
}
