using Nola.Tensors;

namespace Nola.Models;

/// <summary>What a prompt must be.</summary>
internal static class PromptCheck
{
    /// <summary>Refuses a prompt that the model cannot read.</summary>
    /// <exception cref="NolaException">It is empty, has an unknown token, or is too long.</exception>
    public static void Check(int[] prompt, string which, LanguageShape shape)
    {
        if (prompt.Length == 0)
            throw new NolaException($"Generate: {which} is empty; give at least one token, for example the end of text.");
        foreach (int id in prompt)
            if ((uint)id >= (uint)shape.Vocabulary)
                throw new NolaException($"Generate: token id {id} of {which} is outside the model's vocabulary of {shape.Vocabulary}.");
        if (prompt.Length > shape.Positions)
            throw new NolaException($"Generate: {which} has {prompt.Length} tokens; this model reads at most {shape.Positions}.");
    }
}
