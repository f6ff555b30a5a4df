using System.Text.RegularExpressions;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>A turn of a conversation.</summary>
/// <param name="Role">Who speaks: <c>system</c>, <c>user</c> or <c>assistant</c>.</param>
/// <param name="Content">What is said.</param>
public sealed record ChatMessage(string Role, string Content)
{
    internal const string System = "system", User = "user", Assistant = "assistant";

    /// <summary>The roles that there are.</summary>
    public static IReadOnlyList<string> Roles { get; } = [System, User, Assistant];
}

/// <summary>What a part of a conversation's text is.</summary>
internal enum ChatPartKind
{
    /// <summary>The template's own; control tokens that it spells are those tokens.</summary>
    Markup,

    /// <summary>What somebody said; never a control token.</summary>
    Said,

    /// <summary>What the assistant said, which is learned.</summary>
    Answer,

    /// <summary>The template's end of an answer, which is learned too.</summary>
    AnswerEnd,
}

/// <summary>A part of a conversation's text.</summary>
internal readonly record struct ChatPart(ChatPartKind Kind, string Text);

/// <summary>
/// How a conversation is written down for a model. The forms that are known are recognized by the text of the Jinja template that comes
/// with a model, and written by code of their own; nothing of the template is run.
/// </summary>
internal abstract partial class ChatTemplate
{
    /// <summary>What is known, for messages.</summary>
    public const string Known = "ChatML, Llama 3, Mistral, Zephyr and Llama 2";

    /// <summary>Its name.</summary>
    public abstract string Name { get; }

    /// <summary>The token that ends an answer; null for the one that ends texts.</summary>
    public virtual string? EndOfTurn => null;

    /// <summary>The parts of a conversation's text.</summary>
    /// <param name="messages">At least one.</param>
    /// <param name="names">The tokens that begin and end texts, as they are spelled.</param>
    /// <param name="place">Where the conversation comes from, for messages.</param>
    /// <exception cref="NolaException">The form has no place for one of the messages.</exception>
    public abstract IEnumerable<ChatPart> Render(IReadOnlyList<ChatMessage> messages, (string Begin, string End) names, string place);

    /// <summary>What comes before the next answer, behind a conversation.</summary>
    public virtual string Prompt => "";

    /// <summary>The form that a template describes; null where it is none of those that are known.</summary>
    public static ChatTemplate? Recognize(string template)
    {
        ReadOnlySpan<Func<string, ChatTemplate?>> forms =
            [Llama3Template.Of, ChatMLTemplate.Of, Llama2Template.Of, MistralTemplate.Of, ZephyrTemplate.Of];
        foreach (Func<string, ChatTemplate?> form in forms)
            if (form(template) is { } known) return known;
        return null;
    }

    private protected static ChatPart Markup(string text) => new(ChatPartKind.Markup, text);

    private protected static ChatPart Said(string text) => new(ChatPartKind.Said, text);

    private protected static ChatPart Answer(string text) => new(ChatPartKind.Answer, text);

    private protected static ChatPart AnswerEnd(string text) => new(ChatPartKind.AnswerEnd, text);

    // User and assistant in turn, the user first, as some templates demand; the system's message, if any, apart.
    private protected (string? System, IReadOnlyList<ChatMessage> Turns) Alternating(IReadOnlyList<ChatMessage> messages, string place)
    {
        string? system = messages[0].Role == ChatMessage.System ? messages[0].Content : null;
        IReadOnlyList<ChatMessage> turns = [.. messages.Skip(system is null ? 0 : 1)];
        for (int i = 0; i < turns.Count; i++)
            if (turns[i].Role != (i % 2 == 0 ? ChatMessage.User : ChatMessage.Assistant))
                throw new NolaException(
                    $"{place}: message {i + messages.Count - turns.Count + 1} is the {turns[i].Role}'s; in the {Name} form user and "
                    + "assistant take turns, the user first.");
        if (turns.Count == 0) throw new NolaException($"{place}: nothing but a system message is there; add the user's.");
        return (system, turns);
    }
}

/// <summary>
/// <c>&lt;|im_start|&gt;role … &lt;|im_end|&gt;</c>: Qwen2, Qwen2.5, Qwen3, SmolLM2 and many others.
/// </summary>
internal sealed partial class ChatMLTemplate : ChatTemplate
{
    private const string Start = "<|im_start|>", End = "<|im_end|>";

    // What is said where a conversation has no system message; whether texts begin with the model's own token; whether contents are
    // trimmed; and whether the last answer has its thoughts before it, of which Qwen3 wants at least empty ones.
    private string? system;
    private bool begins, trims, thinks;

    /// <inheritdoc/>
    public override string Name => "ChatML";

    /// <inheritdoc/>
    public override string EndOfTurn => End;

    /// <inheritdoc/>
    public override string Prompt => $"{Start}{ChatMessage.Assistant}\n";

    /// <summary>The form, where a template has it.</summary>
    public static ChatMLTemplate? Of(string template)
    {
        bool shaped = template.Contains(Start, StringComparison.Ordinal) && LineAfterEnd().IsMatch(template)
            && PromptEnd().IsMatch(template);
        MatchCollection systems = SystemTurns().Matches(template);
        string[] texts = [.. systems.Where(turn => turn.Groups["text"].Success).Select(turn => turn.Groups["text"].Value).Distinct()];
        if (!shaped || texts.Length > 1 || SystemStart().Count(template) != systems.Count) return null;
        return new()
        {
            system = texts is [string only] ? only.Replace("\\n", "\n") : null,
            begins = template.Contains("bos_token", StringComparison.Ordinal),
            thinks = template.Contains("reasoning_content", StringComparison.Ordinal),
            trims = ContentTrimmed().IsMatch(template),
        };
    }

    /// <inheritdoc/>
    public override IEnumerable<ChatPart> Render(IReadOnlyList<ChatMessage> messages, (string Begin, string End) names, string place)
    {
        if (begins) yield return Markup(names.Begin);
        if (system is not null && messages[0].Role != ChatMessage.System) yield return Markup($"{Start}system\n{system}{End}\n");
        for (int i = 0; i < messages.Count; i++)
        {
            (string role, string content) = (messages[i].Role, trims ? messages[i].Content.Trim() : messages[i].Content);
            bool answer = role == ChatMessage.Assistant;
            if (answer && thinks) content = Thought(content, last: i == messages.Count - 1);
            yield return Markup($"{Start}{role}\n");
            yield return answer ? Answer(content) : Said(content);
            yield return answer ? AnswerEnd(End) : Markup(End);
            yield return Markup("\n");
        }
    }

    // Thoughts are forgotten once the user has spoken again.
    private static string Thought(string content, bool last)
    {
        const string Open = "<think>", Close = "</think>";
        string thoughts = "";
        if (content.LastIndexOf(Close, StringComparison.Ordinal) is int end and >= 0)
        {
            thoughts = content[..content.IndexOf(Close, StringComparison.Ordinal)];
            thoughts = thoughts[(thoughts.LastIndexOf(Open, StringComparison.Ordinal) is int at and >= 0 ? at + Open.Length : 0)..];
            content = content[(end + Close.Length)..].TrimStart('\n');
        }
        return last ? $"{Open}\n{thoughts.Trim('\n')}\n{Close}\n\n{content.TrimStart('\n')}" : content;
    }

    [GeneratedRegex("""<\|im_end\|>(?:['"]\s*\+\s*['"])?(?:\\n|\n)""")]
    private static partial Regex LineAfterEnd();

    [GeneratedRegex("""<\|im_start\|>assistant(?:\\n|\n)""")]
    private static partial Regex PromptEnd();

    [GeneratedRegex("""<\|im_start\|>system""")]
    private static partial Regex SystemStart();

    // Its content is put in, or is there as text.
    [GeneratedRegex("""<\|im_start\|>system(?:\\n|\n)(?:['"]|(?<text>[^'"{}<|]+)<\|im_end\|>)""")]
    private static partial Regex SystemTurns();

    [GeneratedRegex("""\[['"]content['"]\]\s*\|\s*trim|\.content\s*\|\s*trim|content['"]?\]?\.strip\(\)""")]
    private static partial Regex ContentTrimmed();
}

/// <summary><c>&lt;|start_header_id|&gt;role&lt;|end_header_id|&gt; … &lt;|eot_id|&gt;</c>: Llama 3, 3.1, 3.2 and 3.3.</summary>
internal sealed class Llama3Template : ChatTemplate
{
    private const string End = "<|eot_id|>", Knowledge = "Cutting Knowledge Date: December 2023";

    // The date that the template itself falls back on: today's would make other data of the same file every day.
    private const string Dates = Knowledge + "\nToday Date: 26 Jul 2024\n\n";

    private bool dated;

    /// <inheritdoc/>
    public override string Name => "Llama 3";

    /// <inheritdoc/>
    public override string EndOfTurn => End;

    /// <inheritdoc/>
    public override string Prompt => Header(ChatMessage.Assistant);

    /// <summary>The form, where a template has it.</summary>
    public static Llama3Template? Of(string template)
    {
        bool shaped = template.Contains("<|start_header_id|>", StringComparison.Ordinal) && template.Contains(End, StringComparison.Ordinal)
            && template.Contains("bos_token", StringComparison.Ordinal) && template.Contains("trim", StringComparison.Ordinal);
        bool dated = template.Contains(Knowledge, StringComparison.Ordinal) && template.Contains("26 Jul 2024", StringComparison.Ordinal);
        bool system = template.Contains("<|start_header_id|>system", StringComparison.Ordinal);
        return shaped && system == dated ? new() { dated = dated } : null;
    }

    /// <inheritdoc/>
    public override IEnumerable<ChatPart> Render(IReadOnlyList<ChatMessage> messages, (string Begin, string End) names, string place)
    {
        yield return Markup(names.Begin);
        bool system = dated && messages[0].Role == ChatMessage.System;
        if (dated)
        {
            yield return Markup(Header(ChatMessage.System) + Dates);
            if (system) yield return Said(messages[0].Content.Trim());
            yield return Markup(End);
        }
        foreach ((string role, string content) in messages.Skip(system ? 1 : 0))
        {
            bool answer = role == ChatMessage.Assistant;
            yield return Markup(Header(role));
            yield return answer ? Answer(content.Trim()) : Said(content.Trim());
            yield return answer ? AnswerEnd(End) : Markup(End);
        }
    }

    private static string Header(string role) => $"<|start_header_id|>{role}<|end_header_id|>\n\n";
}

/// <summary><c>[INST] … [/INST] … &lt;/s&gt;</c> with its system message in <c>&lt;&lt;SYS&gt;&gt;</c>: Llama 2.</summary>
internal sealed class Llama2Template : ChatTemplate
{
    /// <inheritdoc/>
    public override string Name => "Llama 2";

    /// <summary>The form, where a template has it.</summary>
    public static Llama2Template? Of(string template)
    {
        string[] signs = ["[INST] ", " [/INST]", "<<SYS>>\\n", "\\n<</SYS>>\\n\\n", "bos_token", "system_message = false"];
        return signs.All(sign => template.Contains(sign, StringComparison.Ordinal)) ? new() : null;
    }

    /// <inheritdoc/>
    public override IEnumerable<ChatPart> Render(IReadOnlyList<ChatMessage> messages, (string Begin, string End) names, string place)
    {
        (string? system, IReadOnlyList<ChatMessage> turns) = Alternating(messages, place);
        for (int i = 0; i < turns.Count; i++)
        {
            if (i % 2 == 0)
            {
                bool first = i == 0 && system is not null;
                yield return Markup(names.Begin + "[INST] " + (first ? "<<SYS>>\n" : ""));
                if (first) yield return Said(system!);
                if (first) yield return Markup("\n<</SYS>>\n\n");
                yield return Said(first ? turns[i].Content.TrimEnd() : turns[i].Content.Trim());
                yield return Markup(" [/INST]");
                continue;
            }
            yield return Answer($" {turns[i].Content.Trim()} ");
            yield return AnswerEnd(names.End);
        }
    }
}

/// <summary>
/// <c>[INST] … [/INST] … &lt;/s&gt;</c>: Mistral's, whose versions differ in spaces and in where the system message goes.
/// </summary>
internal sealed partial class MistralTemplate : ChatTemplate
{
    private enum SystemPlace
    {
        None,
        First,
        Last,
    }

    private string open = "", close = "", lead = "", tail = "";
    private bool trims;
    private SystemPlace place;

    /// <inheritdoc/>
    public override string Name => "Mistral";

    /// <summary>The form, where a template has it.</summary>
    public static MistralTemplate? Of(string template)
    {
        string[] opens = Literals(Opens().Matches(template)), closes = Literals(Closes().Matches(template));
        Match[] answers = [.. Answers().Matches(template).DistinctBy(match => match.Value)];
        bool shaped = opens.Length == 1 && closes.Length == 1 && answers.Length == 1
            && template.Contains("bos_token", StringComparison.Ordinal);
        bool system = template.Contains("system_message", StringComparison.Ordinal);
        bool first = template.Contains("loop.first and system_message", StringComparison.Ordinal);
        bool last = template.Contains("loop.last and system_message", StringComparison.Ordinal);
        if (!shaped || (system && first == last)) return null;
        return new()
        {
            open = opens[0],
            close = closes[0],
            lead = answers[0].Groups["lead"].Value,
            tail = answers[0].Groups["tail"].Value,
            trims = answers[0].Groups["trim"].Success,
            place = !system ? SystemPlace.None : first ? SystemPlace.First : SystemPlace.Last,
        };
    }

    /// <inheritdoc/>
    public override IEnumerable<ChatPart> Render(IReadOnlyList<ChatMessage> messages, (string Begin, string End) names, string place)
    {
        (string? system, IReadOnlyList<ChatMessage> turns) = Alternating(messages, place);
        if (system is not null && this.place == SystemPlace.None)
            throw new NolaException(
                $"{place}: has a system message, for which the model's chat template has no place; put it into the user's.");
        // The last question, whose answer may be there already.
        int with = this.place == SystemPlace.Last ? (turns.Count - 1) / 2 * 2 : 0;
        yield return Markup(names.Begin);
        for (int i = 0; i < turns.Count; i++)
        {
            if (i % 2 == 0)
            {
                yield return Markup(open);
                yield return Said(i == with && system is not null ? $"{system}\n\n{turns[i].Content}" : turns[i].Content);
                yield return Markup(close);
                continue;
            }
            yield return Answer(lead + (trims ? turns[i].Content.Trim() : turns[i].Content));
            yield return AnswerEnd(names.End);
            if (tail.Length > 0) yield return Markup(tail);
        }
    }

    private static string[] Literals(MatchCollection matches) => [.. matches.Select(match => match.Groups["text"].Value).Distinct()];

    [GeneratedRegex("""(['"])(?<text> ?\[INST\] ?)\1""")]
    private static partial Regex Opens();

    [GeneratedRegex("""(['"])(?<text> ?\[/INST\] ?)\1""")]
    private static partial Regex Closes();

    [GeneratedRegex("""
        (?:(?<q>['"])(?<lead>[ ]*)\k<q>\s*\+\s*)?
        message(?:\[['"]content['"]\]|\.content)(?<trim>\s*\|\s*trim|\.strip\(\))?
        \s*\+\s*eos_token
        (?:\s*\+\s*(?<r>['"])(?<tail>[ ]*)\k<r>)?
        """, RegexOptions.IgnorePatternWhitespace)]
    private static partial Regex Answers();
}

/// <summary><c>&lt;|user|&gt; … &lt;/s&gt;</c> on lines of their own: Zephyr and TinyLlama.</summary>
internal sealed partial class ZephyrTemplate : ChatTemplate
{
    /// <inheritdoc/>
    public override string Name => "Zephyr";

    /// <inheritdoc/>
    public override string Prompt => "<|assistant|>\n";

    /// <summary>The form, where a template has it.</summary>
    public static ZephyrTemplate? Of(string template)
    {
        bool all = ChatMessage.Roles.All(role => template.Contains($"<|{role}|>\\n", StringComparison.Ordinal));
        bool ends = LinesAfterEnd().Count(template) >= ChatMessage.Roles.Count;
        return all && ends && !template.Contains("bos_token", StringComparison.Ordinal) ? new() : null;
    }

    /// <inheritdoc/>
    public override IEnumerable<ChatPart> Render(IReadOnlyList<ChatMessage> messages, (string Begin, string End) names, string place)
    {
        foreach ((string role, string content) in messages)
        {
            bool answer = role == ChatMessage.Assistant;
            yield return Markup($"<|{role}|>\n");
            yield return answer ? Answer(content) : Said(content);
            yield return answer ? AnswerEnd(names.End) : Markup(names.End);
            yield return Markup("\n");
        }
    }

    // The line break behind what is put out stays.
    [GeneratedRegex("""\+\s*eos_token\s*\}\}\n""")]
    private static partial Regex LinesAfterEnd();
}
