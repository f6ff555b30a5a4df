using System.Text.RegularExpressions;

namespace Nola.Cuda.Emulator;

/// <summary>An instruction: <c>@%p1 add.s32 %r1, %r2, 1</c>.</summary>
/// <param name="Line">Where it stands.</param>
/// <param name="Guard">The predicate that it is carried out under; null for always.</param>
/// <param name="GuardIsFalse">Whether it is carried out where the predicate is false.</param>
/// <param name="Code">All of <c>add.s32</c>.</param>
/// <param name="Parts">The same at its points.</param>
/// <param name="Operands">Vectors with their braces, addresses with their brackets.</param>
internal sealed partial record PtxInstruction(int Line, string? Guard, bool GuardIsFalse, string Code, string[] Parts, string[] Operands)
{
    /// <summary>The first part: <c>add</c>.</summary>
    public string Name => Parts[0];

    /// <summary>The type that it ends with.</summary>
    public PtxType Type => PtxType.Of(Parts[^1]);

    /// <summary>Whether it has a modifier.</summary>
    public bool Has(string modifier) => Array.IndexOf(Parts, modifier, 1) > 0;

    /// <summary>Reads one.</summary>
    public static PtxInstruction Read(PtxStatement statement)
    {
        Match m = Form().Match(statement.Text);
        if (!m.Success) throw new PtxException($"'{statement.Text}' is no instruction");
        return new(
            statement.Line, m.Groups[2].Success ? m.Groups[2].Value : null, m.Groups[1].Value == "!",
            m.Groups[3].Value, m.Groups[3].Value.Split('.'), [.. Split(m.Groups[4].Value)]);
    }

    /// <summary>The operands of a vector, or the one that is none.</summary>
    public static string[] Vector(string operand) => operand.Trim('{', '}', ' ').Split(',', StringSplitOptions.TrimEntries);

    private static IEnumerable<string> Split(string operands)
    {
        int depth = 0, begin = 0;
        for (int i = 0; i < operands.Length; i++)
        {
            if (operands[i] is '{' or '[' or '(') depth++;
            else if (operands[i] is '}' or ']' or ')') depth--;
            else if (operands[i] == ',' && depth == 0)
            {
                yield return operands[begin..i].Trim();
                begin = i + 1;
            }
        }
        if (operands[begin..].Trim() is { Length: > 0 } last) yield return last;
    }

    [GeneratedRegex(@"^(?:@(!?)\s*(%?\w+)\s+)?([a-z0-9_.:]+)\s*(.*)$", RegexOptions.Singleline)]
    private static partial Regex Form();
}
