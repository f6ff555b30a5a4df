using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Nola.Train.Metrics;

/// <summary>
/// Several patterns as one deterministic automaton whose states and steps are made when a text first needs them. It finds
/// the longest match, and among patterns that match as much, the first. Not safe for threads.
/// </summary>
internal sealed class LazyDfa
{
    private const int Dead = -1, Unknown = -2;

    // Of the places that are remembered.
    private const int Stride = 64;

    private readonly Nfa nfa = new();
    private readonly Dictionary<int, int> acceptedBy = [];              // accepting state of the NFA → pattern
    private readonly List<State> states = [];
    private readonly Dictionary<string, int> byMembers = [];            // members as characters → state
    private readonly int[] planeClasses = new int[char.MaxValue + 1];   // code point → class + 1; 0 when not met yet
    private readonly Dictionary<int, int> otherClasses = [];
    private readonly List<int> examples = [];                           // a code point of each class
    private readonly Dictionary<string, int> bySignature = [];
    private readonly List<(int State, int Place)> passed = [];          // since the last match

    public LazyDfa(params IReadOnlyList<string> patterns)
    {
        int start = Nfa.None;
        for (int i = patterns.Count - 1; i >= 0; i--)
        {
            int accept = nfa.AddState();
            acceptedBy[accept] = i;
            int begin = PatternCompiler.Compile(nfa, patterns[i], accept);
            start = start == Nfa.None ? begin : nfa.AddState(begin, start);
        }
        _ = StateOf(Closure([start]));
    }

    /// <summary>The longest match from a position on: its end and its pattern; pattern -1 where nothing matches.</summary>
    /// <param name="text">Code points.</param>
    /// <param name="start">Where the match begins.</param>
    /// <param name="fruitless">
    /// States and places of this text from which nothing more is matched; grows. Without it a text that often looks like the begin
    /// of a long match, and never is, would be read to its end from each of them (Reps 1998).
    /// </param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public (int End, int Pattern) Match(ReadOnlySpan<int> text, int start, HashSet<(int State, int Place)>? fruitless = null)
    {
        int state = 0, end = start, pattern = -1;
        passed.Clear();
        for (int i = start; i < text.Length; i++)
        {
            state = Next(state, text[i]);
            if (state == Dead) break;
            if (states[state].Pattern >= 0)
            {
                (end, pattern) = (i + 1, states[state].Pattern);
                passed.Clear();
            }
            else if (i % Stride == 0 && fruitless is not null)
            {
                if (fruitless.Contains((state, i))) break;
                passed.Add((state, i));
            }
        }
        fruitless?.UnionWith(passed);
        return (end, pattern);
    }

    /// <summary>All ends of a match that begins at the start of a text, ascending.</summary>
    public List<int> Ends(ReadOnlySpan<int> text)
    {
        List<int> ends = [];
        for (int state = 0, i = 0; i < text.Length && (state = Next(state, text[i])) != Dead; i++)
            if (states[state].Pattern >= 0) ends.Add(i + 1);
        return ends;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int Next(int state, int point)
    {
        int kind = point <= char.MaxValue ? planeClasses[point] - 1 : otherClasses.GetValueOrDefault(point, -1);
        if (kind < 0) kind = Classify(point);
        List<int> steps = states[state].Steps;
        while (steps.Count <= kind) steps.Add(Unknown);
        return steps[kind] == Unknown ? steps[kind] = MakeStep(state, kind) : steps[kind];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int MakeStep(int state, int kind)
    {
        List<int> targets = [];
        foreach (int member in states[state].Members)
        {
            (int set, int next, _) = nfa[member];
            if (set != Nfa.None && nfa.Sets[set].Contains(examples[kind])) targets.Add(next);
        }
        return targets.Count == 0 ? Dead : StateOf(Closure(targets));
    }

    /// <summary>Code points that no set tells apart share a class.</summary>
    private int Classify(int point)
    {
        string signature = string.Create(nfa.Sets.Count, point, (bits, p) =>
        {
            for (int i = 0; i < bits.Length; i++) bits[i] = nfa.Sets[i].Contains(p) ? '1' : '0';
        });
        if (!bySignature.TryGetValue(signature, out int kind))
        {
            kind = bySignature[signature] = examples.Count;
            examples.Add(point);
        }
        if (point <= char.MaxValue) planeClasses[point] = kind + 1;
        else otherClasses[point] = kind;
        return kind;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int[] Closure(List<int> members)
    {
        HashSet<int> seen = [.. members];
        Stack<int> open = new(seen);
        while (open.TryPop(out int member))
        {
            (int set, int next, int other) = nfa[member];
            if (set != Nfa.None) continue;
            if (next != Nfa.None && seen.Add(next)) open.Push(next);
            if (other != Nfa.None && seen.Add(other)) open.Push(other);
        }
        // Free states have done their work; what remains decides the steps and what is accepted.
        return [.. seen.Where(m => nfa[m].Set != Nfa.None || acceptedBy.ContainsKey(m)).Order()];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int StateOf(int[] members)
    {
        string key = new(MemoryMarshal.Cast<int, char>(members));
        if (byMembers.TryGetValue(key, out int state)) return state;
        int pattern = members.Where(acceptedBy.ContainsKey).Select(m => acceptedBy[m]).DefaultIfEmpty(-1).Min();
        states.Add(new(members, pattern, []));
        return byMembers[key] = states.Count - 1;
    }

    private sealed record State(int[] Members, int Pattern, List<int> Steps);
}
