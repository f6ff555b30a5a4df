using System.Globalization;
using System.Text.RegularExpressions;

namespace Nola.Cuda.Emulator;

/// <summary>A module: its kernels, for a generation of cards.</summary>
/// <param name="Name">What the first line, a comment, calls it; null when it says nothing.</param>
/// <param name="Target">Compute capability times ten, from <c>.target sm_80</c>.</param>
/// <param name="Kernels">Its entries.</param>
public sealed partial record PtxModule(string? Name, int Target, IReadOnlyList<PtxKernel> Kernels)
{
    /// <summary>Reads the text that a driver would be given.</summary>
    /// <exception cref="PtxException">It is not understood; the message says what, and in which line.</exception>
    public static PtxModule Read(string ptx)
    {
        string text = Comment().Replace(ptx, "");
        string? name = NamedModule().Match(ptx) is { Success: true } named ? named.Groups[1].Value : null;
        int target = TargetLine().Match(text) is { Success: true } line
            ? int.Parse(line.Groups[1].Value, CultureInfo.InvariantCulture)
            : throw new PtxException("there is no .target sm_…");
        return new(name, target, [.. Entry().Matches(text).Select(m => PtxKernel.Read(text, m))]);
    }

    [GeneratedRegex(@"//[^\n]*")]
    private static partial Regex Comment();

    [GeneratedRegex(@"\A//\s*([\w.]+)\s*\n")]
    private static partial Regex NamedModule();

    [GeneratedRegex(@"\.target\s+sm_(\d+)")]
    private static partial Regex TargetLine();

    [GeneratedRegex(@"\.visible\s+\.entry\s+(\w+)\s*\((.*?)\)([^{]*)\{", RegexOptions.Singleline)]
    private static partial Regex Entry();
}

/// <summary>A kernel: where its parameters lie, how many threads a block of it may have, and its statements.</summary>
/// <param name="Name">Its entry.</param>
/// <param name="Parameters">The offset of each parameter.</param>
/// <param name="ParameterBytes">Bytes of all of them.</param>
/// <param name="Threads">From <c>.maxntid</c>.</param>
/// <param name="Statements">Instructions, declarations, labels (which end with a colon) and braces.</param>
public sealed partial record PtxKernel(
    string Name, IReadOnlyDictionary<string, int> Parameters, int ParameterBytes, int Threads, IReadOnlyList<PtxStatement> Statements)
{
    internal static PtxKernel Read(string text, Match head)
    {
        Dictionary<string, int> parameters = [];
        int end = 0;
        foreach (string declaration in head.Groups[2].Value.Split(
            ',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            (string name, int align, int bytes) = Parameter(declaration);
            end = (end + align - 1) / align * align;
            parameters.Add(name, end);
            end += bytes;
        }
        // Of .maxntid 256, 1, 1 all three count.
        int threads = MaxThreads().Match(head.Groups[3].Value) is { Success: true } max
            ? max.Groups[1].Value.Split(',').Aggregate(1, (product, n) => product * int.Parse(n, CultureInfo.InvariantCulture))
            : 1024;
        return new(head.Groups[1].Value, parameters, end, threads, [.. Split(text, head.Index + head.Length)]);
    }

    private static (string Name, int Align, int Bytes) Parameter(string declaration)
    {
        if (Structure().Match(declaration) is { Success: true } s)
            return (
                s.Groups[2].Value,
                int.Parse(s.Groups[1].Value, CultureInfo.InvariantCulture),
                int.Parse(s.Groups[3].Value, CultureInfo.InvariantCulture));
        if (Scalar().Match(declaration) is not { Success: true } simple)
            throw new PtxException($"parameter '{declaration}' is not understood");
        int bytes = PtxType.Of(simple.Groups[1].Value).Bytes;
        return (simple.Groups[2].Value, bytes, bytes);
    }

    // Up to the brace that closes the body. Braces around vectors stand inside statements, those of scopes by themselves.
    private static IEnumerable<PtxStatement> Split(string text, int at)
    {
        int line = 1 + text.AsSpan(0, at).Count('\n'), first = line, begin = at, depth = 1;
        bool empty = true;
        for (; at < text.Length; at++)
        {
            char c = text[at];
            if (c == '\n') line++;
            bool scope = empty && c is '{' or '}' && empty, label = c == ':' && Label().IsMatch(text.AsSpan(begin, at - begin));
            if (scope) depth += c == '{' ? 1 : -1;
            if (depth == 0) yield break;
            if (scope || label || c == ';')
            {
                string statement = text[begin..at].Trim();
                yield return new(scope ? line : first, scope ? c.ToString() : label ? statement + ":" : statement);
                (begin, empty) = (at + 1, true);
            }
            else if (empty && !char.IsWhiteSpace(c))
            {
                (first, empty) = (line, false);
            }
        }
        throw new PtxException("the text ends inside a kernel");
    }

    [GeneratedRegex(@"^\.param\s+\.align\s+(\d+)\s+\.b8\s+(\w+)\[(\d+)\]$")]
    private static partial Regex Structure();

    [GeneratedRegex(@"^\.param\s+\.(\w+)\s+(\w+)$")]
    private static partial Regex Scalar();

    [GeneratedRegex(@"\.maxntid\s+(\d+(?:\s*,\s*\d+)*)")]
    private static partial Regex MaxThreads();

    [GeneratedRegex(@"^\s*[\w$]+$")]
    private static partial Regex Label();
}

/// <summary>A statement and the line it begins in.</summary>
public sealed record PtxStatement(int Line, string Text);
