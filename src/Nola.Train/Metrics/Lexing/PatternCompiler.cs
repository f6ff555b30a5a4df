using System.Globalization;

namespace Nola.Train.Metrics;

/// <summary>
/// Compiles a pattern to an automaton, from its end to its beginning. Syntax: characters in either case, <c>[a-z]</c>
/// exactly as written, <c>[^…]</c>, <c>\p{L}</c> <c>\p{Lu}</c> <c>\p{Nd}</c> also inside brackets, <c>\uXXXX</c>, <c>\n \r
/// \t \f</c>, <c>.</c> for anything within a line, <c>( | )</c>, <c>? * +</c>, <c>{n}</c>, <c>{n,m}</c>.
/// </summary>
internal sealed class PatternCompiler(Nfa nfa, string pattern)
{
    private const string LineEnds = "\n\r\v\f\u0085\u2028\u2029";

    private int at;

    /// <summary>Adds a pattern that goes on to a state, and returns where it begins.</summary>
    public static int Compile(Nfa nfa, string pattern, int accept)
    {
        PatternCompiler compiler = new(nfa, pattern);
        Func<int, int> build = compiler.Alternatives();
        if (compiler.at < pattern.Length) throw compiler.Wrong("nothing");
        return build(accept);
    }

    // Each part is a function from the state that follows it to the state that begins it, so that it can be laid repeatedly.
    private Func<int, int> Alternatives()
    {
        Func<int, int> left = Sequence();
        while (at < pattern.Length && pattern[at] == '|')
        {
            at++;
            Func<int, int> first = left, second = Sequence();
            left = next => nfa.AddState(first(next), second(next));
        }
        return left;
    }

    private Func<int, int> Sequence()
    {
        List<Func<int, int>> parts = [];
        while (at < pattern.Length && pattern[at] is not ('|' or ')')) parts.Add(Repeated());
        return next =>
        {
            for (int i = parts.Count - 1; i >= 0; i--) next = parts[i](next);
            return next;
        };
    }

    private Func<int, int> Repeated()
    {
        Func<int, int> part = Single();
        while (at < pattern.Length && pattern[at] is '?' or '*' or '+' or '{')
        {
            Func<int, int> one = part;
            switch (pattern[at++])
            {
                case '?': part = next => nfa.AddState(one(next), next); break;
                case '*': part = next => Loop(one, next); break;
                case '+': part = next => one(Loop(one, next)); break;
                default:
                    (int least, int most) = Bounds();
                    part = next => Times(one, least, most, next);
                    break;
            }
            if (at == pattern.Length) break;
        }
        return part;
    }

    private int Loop(Func<int, int> part, int next)
    {
        int loop = nfa.AddState();
        nfa.Point(loop, part(loop), next);
        return loop;
    }

    private int Times(Func<int, int> part, int least, int most, int next)
    {
        int end = next;
        for (int i = least; i < most; i++) next = nfa.AddState(part(next), end);
        for (int i = 0; i < least; i++) next = part(next);
        return next;
    }

    private (int Least, int Most) Bounds()
    {
        int close = pattern.IndexOf('}', at);
        string[] bounds = pattern[at..close].Split(',');
        at = close + 1;
        return (int.Parse(bounds[0], CultureInfo.InvariantCulture), int.Parse(bounds[^1], CultureInfo.InvariantCulture));
    }

    private Func<int, int> Single()
    {
        switch (pattern[at])
        {
            case '(':
                at++;
                Func<int, int> inner = Alternatives();
                if (at == pattern.Length || pattern[at++] != ')') throw Wrong("')'");
                return inner;
            case '[': return Step(Bracketed());
            case '.':
                at++;
                CharacterSet any = new() { Complemented = true };
                foreach (char end in LineEnds) any.Add(end, end);
                return Step(any);
            case '\\' when at + 1 < pattern.Length && pattern[at + 1] == 'p':
                CharacterSet category = new();
                category.AddCategory(Category());
                return Step(category);
            default: return Step(CharacterSet.Caseless(Character()));
        }
    }

    private Func<int, int> Step(CharacterSet set) => next => nfa.AddStep(set, next);

    private CharacterSet Bracketed()
    {
        CharacterSet set = new() { Complemented = pattern[++at] == '^' };
        if (set.Complemented) at++;
        while (pattern[at] != ']')
        {
            if (pattern[at] == '\\' && pattern[at + 1] == 'p')
            {
                set.AddCategory(Category());
                continue;
            }
            int first = Character(), last = first;
            if (pattern[at] == '-' && pattern[at + 1] != ']')
            {
                at++;
                last = Character();
            }
            set.Add(first, last);
        }
        at++;
        return set;
    }

    private string Category()
    {
        int close = pattern.IndexOf('}', at);
        string name = pattern[(at + 3)..close];
        at = close + 1;
        return name;
    }

    private int Character()
    {
        if (pattern[at] != '\\') return pattern[at++];
        at++;
        switch (pattern[at++])
        {
            case 'n': return '\n';
            case 'r': return '\r';
            case 't': return '\t';
            case 'f': return '\f';
            case 'u':
                at += 4;
                return int.Parse(pattern.AsSpan(at - 4, 4), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            default: return pattern[at - 1];
        }
    }

    private FormatException Wrong(string expected) => new($"Pattern '{pattern}': expected {expected} at {at}.");
}
