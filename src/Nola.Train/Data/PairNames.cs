using Nola.Tensors;

namespace Nola.Train;

/// <summary>The names that the sides of a pair go by in columns and keys, and what a context's name asks for.</summary>
internal static class PairNames
{
    /// <summary>E2E's context, a list of <c>name[value]</c>.</summary>
    public const string Meaning = "mr";

    /// <summary>Alpaca's context, with an <see cref="Input"/> or without.</summary>
    public const string Instruction = "instruction";

    /// <summary>What an instruction is to be applied to.</summary>
    public const string Input = "input";

    /// <summary>A text without a context.</summary>
    public const string Text = "text";

    /// <summary>A conversation.</summary>
    public const string Messages = "messages";

    private static readonly string[] contexts = ["context", "prompt", Meaning, Instruction];
    private static readonly string[] completions = ["completion", "ref", "response", "output"];

    // Of MetaMathQA and GSM8K. They count where there is no other form of example, beside which such a column may be anything.
    private static readonly string[] questions = ["query", "question"], answers = ["answer"];

    /// <summary>What is expected, for messages.</summary>
    public static string Expected { get; } =
        "context,completion or prompt,completion or mr,ref or instruction,input,output or question,answer";

    /// <summary>The name of the context that is there; null for none.</summary>
    /// <exception cref="NolaException">There are two.</exception>
    public static string? Context(IReadOnlyList<string> there, string place) =>
        Only(contexts, there, place) ?? (IsQuestion(there) ? Only(questions, there, place) : null);

    /// <summary>The name of the completion that is there; null for none.</summary>
    /// <exception cref="NolaException">There are two.</exception>
    public static string? Completion(IReadOnlyList<string> there, string place) =>
        Only(completions, there, place) ?? (IsQuestion(there) ? Only(answers, there, place) : null);

    /// <summary>The context's text, in the form that a model reads.</summary>
    /// <param name="name">What the context is called.</param>
    /// <param name="value">Its text.</param>
    /// <param name="input">What an instruction has beside it; null or empty for nothing.</param>
    /// <param name="place">File and line, for messages.</param>
    /// <exception cref="NolaException">A meaning representation is malformed.</exception>
    public static string Read(string name, string value, string? input, string place) => name switch
    {
        Meaning => MeaningRepresentation.Linearise(value, place),
        Instruction => InstructionTemplate.Prompt(value, input),
        _ => value,
    };

    /// <summary>Whether one of the names is a context's.</summary>
    public static bool IsContext(IReadOnlyList<string> names) => names.Any(contexts.Contains) || IsQuestion(names);

    /// <summary>Whether one of the names is a completion's.</summary>
    public static bool IsCompletion(IReadOnlyList<string> names) =>
        names.Any(completions.Contains) || (IsQuestion(names) && names.Any(answers.Contains));

    private static bool IsQuestion(IReadOnlyList<string> there) =>
        there.Any(questions.Contains) && !there.Any(name => contexts.Contains(name) || name is Text or Messages);

    private static string? Only(string[] names, IReadOnlyList<string> there, string place)
    {
        string? found = null;
        foreach (string name in there)
        {
            if (!names.Contains(name)) continue;
            if (found is not null)
                throw new NolaException($"{place}: both \"{found}\" and \"{name}\" are there, and a pair has only one of them; "
                    + "leave one out.");
            found = name;
        }
        return found;
    }
}
