namespace Nola.Models;

/// <summary>How running text, in which no added token stands, becomes tokens.</summary>
internal abstract class SubwordModel
{
    /// <summary>The bytes of the characters that stand for a space, ▁.</summary>
    protected const char SpaceMark = '\u2581';

    /// <summary>The text as it is cut; added tokens that are looked for in such text are found in this.</summary>
    public virtual string Normalize(string text, PartStart start) => text;

    /// <summary>Adds the tokens of normalized text.</summary>
    public abstract void Encode(ReadOnlySpan<char> text, PartStart start, List<int> ids);
}

/// <summary>The tokens of single characters.</summary>
internal sealed class CharacterIds
{
    private readonly int[] basic = new int[char.MaxValue + 1];
    private readonly Dictionary<int, int> others = [];

    /// <summary>A table without any.</summary>
    public CharacterIds() => Array.Fill(basic, -1);

    /// <summary>The token of a character, by its code point; −1 for none.</summary>
    public int this[int character]
    {
        get => character <= char.MaxValue ? basic[character] : others.GetValueOrDefault(character, -1);
        set
        {
            if (character <= char.MaxValue) basic[character] = value;
            else others[character] = value;
        }
    }
}
