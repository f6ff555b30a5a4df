namespace Nola.Models;

/// <summary>The text of one answer as it comes, without the spaces before its first word where they are no part of it.</summary>
/// <param name="trims">Whether they are left out, as of a completion in the form that is taught.</param>
internal sealed class AnswerText(bool trims)
{
    private bool begun = !trims;

    /// <summary>What a piece adds to the answer.</summary>
    public string Add(string piece)
    {
        if (!begun) piece = piece.TrimStart();
        begun |= piece.Length > 0;
        return piece;
    }
}
