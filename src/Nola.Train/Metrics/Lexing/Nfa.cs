namespace Nola.Train.Metrics;

/// <summary>
/// A nondeterministic automaton that grows by Thompson's construction. A state has either one step over a set of
/// characters, or up to two free steps, or nothing (then it accepts).
/// </summary>
internal sealed class Nfa
{
    /// <summary>Marks a state without the step in question.</summary>
    public const int None = -1;

    private readonly List<(int Set, int Next, int Other)> states = [];

    /// <summary>The sets on the steps.</summary>
    public List<CharacterSet> Sets { get; } = [];

    public int Count => states.Count;

    /// <summary>Set (<see cref="None"/>: a free step), its target and a second free target.</summary>
    public (int Set, int Next, int Other) this[int state] => states[state];

    public int AddState(int next = None, int other = None)
    {
        states.Add((None, next, other));
        return states.Count - 1;
    }

    public int AddStep(CharacterSet set, int next)
    {
        Sets.Add(set);
        states.Add((Sets.Count - 1, next, None));
        return states.Count - 1;
    }

    /// <summary>Points a state's free steps, once they are known.</summary>
    public void Point(int state, int next, int other) => states[state] = (None, next, other);
}
