using System.Text;

namespace Nola.Tensors;

/// <summary>
/// Something outside the program is wrong (a file, an option, a device): the message is one clear sentence for the
/// person at the keyboard, naming the thing, the condition, and the next step. The command line prints it without a
/// stack trace and exits with a non-zero code. Whatever the message repeats of the input, it is one line of printable
/// text, and shorter than 400 characters.
/// </summary>
public class NolaException : Exception
{
    /// <summary>The longest message, in characters.</summary>
    public const int LongestMessage = 399;

    // What the end of a message has at least: the next step is there.
    private const int End = 150;

    /// <summary>Creates the error with its sentence.</summary>
    public NolaException(string message) : base(OneLine(message)) { }

    /// <summary>Creates the error with its sentence and the failure behind it.</summary>
    public NolaException(string message, Exception inner) : base(OneLine(message), inner) { }

    /// <summary>
    /// Names of the options that the sentence advises to change, as properties and parameters are called: <c>LearningRate</c>,
    /// <c>truncate</c>. A program with names of its own for them, such as a command line, can add those; most messages have none.
    /// </summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>
    /// The text on one line of at most <paramref name="longest"/> characters: control characters and halves of characters as
    /// escapes such as <c>\u0000</c>, and where it is longer, an ellipsis in the place of its middle.
    /// </summary>
    internal static string OneLine(string text, int longest = LongestMessage)
    {
        // Escapes make six characters of one, so no more than this of each side can be needed.
        if (text.Length > 2 * longest) text = string.Concat(text.AsSpan(0, longest), text.AsSpan(text.Length - longest));
        string shown = Printable(text);
        if (shown.Length <= longest) return shown;
        int end = Math.Min(End, longest / 3), start = longest - end - 1;
        // Neither side is to begin or end with half of a character.
        if (char.IsHighSurrogate(shown[start - 1])) start--;
        int from = shown.Length - end;
        if (char.IsLowSurrogate(shown[from])) from++;
        return $"{shown.AsSpan(0, start)}…{shown.AsSpan(from)}";
    }

    private static string Printable(string text)
    {
        StringBuilder? shown = null;
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            bool pair = char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]);
            // U+2028, U+2029 and the marks that turn the direction of writing round would break a terminal's line as well.
            bool plain = pair || !(char.IsControl(c) || char.IsSurrogate(c)
                || c is '\u2028' or '\u2029' or (>= '\u202A' and <= '\u202E') or (>= '\u2066' and <= '\u2069'));
            if (!plain) shown ??= new StringBuilder(text.Length + 16).Append(text, 0, i);
            if (!plain) shown!.Append(c switch { '\n' => "\\n", '\r' => "\\r", '\t' => "\\t", _ => $"\\u{(int)c:X4}" });
            else shown?.Append(c);
            if (!pair) continue;
            shown?.Append(text[i + 1]);
            i++;
        }
        return shown?.ToString() ?? text;
    }
}
