using Nola.Tensors;

namespace Nola.Autograd;

/// <summary>
/// A Wengert list: the record of one step and the owner of everything the step computes. Recording order is
/// topological order, so the reverse sweep is a loop. There is no ambient state: results join the tape of their inputs.
/// Values are written once and never alias each other; each goes back to the pool as soon as no rule needs it any more.
/// With <c>record: false</c> the same model code is inference. One thread uses a tape.
/// </summary>
public sealed class Tape : IDisposable
{
    private readonly List<Node> nodes = [];
    private bool recording;

    /// <summary>Starts a step.</summary>
    /// <param name="device">Where it computes.</param>
    /// <param name="record">False for inference: nothing is kept for a reverse sweep.</param>
    /// <param name="checkpointBlocks">Keep only the inputs of blocks and compute their inside again in the sweep.</param>
    public Tape(Device device, bool record = true, bool checkpointBlocks = false)
    {
        Device = device;
        recording = record;
        CheckpointBlocks = checkpointBlocks;
    }

    /// <summary>Where the step computes.</summary>
    public Device Device { get; }

    /// <summary>Whether operations are recorded.</summary>
    public bool Records => recording;

    /// <summary>Whether blocks are computed again in the sweep instead of being kept.</summary>
    public bool CheckpointBlocks { get; }

    /// <summary>A parameter as a variable; its gradient goes to the parameter.</summary>
    public Variable Read(Parameter parameter) =>
        Push(new Node { Value = parameter.Value, Parameter = parameter, NeedsGradient = recording && parameter.Trainable });

    /// <summary>A tensor as a variable without a gradient. It stays the caller's.</summary>
    public Variable Constant(Tensor tensor) => Push(new Node { Value = tensor });

    /// <summary>For an operation: a new value of this tape, content undefined.</summary>
    public Variable New(Shape shape) => Push(new Node { Value = Device.Empty(shape), Owned = true });

    /// <summary>
    /// For an operation: says how the gradient of <paramref name="y"/> reaches the inputs. The rule is called once with
    /// dy, if a gradient arrives; it writes through <see cref="Variable.TakesGradient"/>. Records nothing, and disposes
    /// <paramref name="extras"/> at once, when no input needs a gradient.
    /// </summary>
    /// <param name="y">The result.</param>
    /// <param name="inputs">What it was computed from.</param>
    /// <param name="saved">Variables whose values the rule reads; all others may be released before.</param>
    /// <param name="extras">Tensors that the rule reads and that are on no variable; the tape takes them over.</param>
    /// <param name="rule">Called with dy.</param>
    /// <param name="again">
    /// Computes y once more into the tensor that it is given, from what the rule keeps. With it, y is dropped at the end of
    /// its block although later rules need it, and made again for them: for cheap results that would fill memory.
    /// </param>
    public Variable Record(
        Variable y, ReadOnlySpan<Variable> inputs, ReadOnlySpan<Variable> saved,
        ReadOnlySpan<Tensor> extras, Action<Tensor> rule, Action<Tensor>? again = null)
    {
        bool needed = false;
        foreach (Variable input in inputs)
        {
            if (input.Tape != this)
                throw new InvalidOperationException(
                    "Record: an input is on another tape; results join the tape of their inputs, so all must be on one.");
            needed |= input.NeedsGradient;
        }
        if (!recording || !needed)
        {
            foreach (Tensor extra in extras) extra.Dispose();
            return y;
        }
        Node node = nodes[y.Index];
        node.NeedsGradient = true;
        node.Rule = rule;
        node.Again = again;
        node.Extras = extras.ToArray();
        node.Saved = new int[saved.Length];
        for (int i = 0; i < saved.Length; i++)
        {
            node.Saved[i] = saved[i].Index;
            nodes[saved[i].Index].Uses++;
        }
        return y;
    }

    /// <summary>Keeps the value of <paramref name="variable"/> readable until the tape is disposed.</summary>
    public Variable Keep(Variable variable)
    {
        nodes[variable.Index].Uses++;
        nodes[variable.Index].Again = null;
        return variable;
    }

    /// <summary>
    /// y = body(x), with everything in between released as early as possible: at once when nothing is recorded, as far
    /// as no rule needs it when recorded, and entirely with <see cref="CheckpointBlocks"/>, where the sweep runs the
    /// body again (Chen et al. 2016). The body must compute the same when run twice, and release only through its tape.
    /// </summary>
    public Variable Block(Variable x, Func<Variable, Variable> body)
    {
        if (!recording || !CheckpointBlocks) return Scope(() => body(x));
        int mark = nodes.Count;
        recording = false;
        Variable y;
        try
        {
            y = body(x);
        }
        finally
        {
            recording = true;
        }
        ReleaseUnused(mark, y.Index);
        // The body may read parameters and other variables; whether any needs a gradient is only known when it runs.
        return RecordAlways(y, x, dy => Recompute(x, body, dy));
    }

    /// <summary>y = body(), with everything in between that no rule needs released when it returns.</summary>
    public Variable Scope(Func<Variable> body)
    {
        int mark = nodes.Count;
        Variable y = body();
        ReleaseUnused(mark, y.Index);
        return y;
    }

    /// <summary>Computes the gradient of a scalar with respect to everything it depends on.</summary>
    /// <exception cref="ShapeException">The loss has more than one element.</exception>
    public void Backward(Variable loss)
    {
        if (loss.Value.Length != 1)
            throw new ShapeException($"Backward: the loss has shape {loss.Shape}; expected one element. Use Ops.Sum or Ops.Mean first.");
        using Tensor one = Device.Empty(loss.Shape);
        Device.Fill(one, 1);
        Backward((loss, one));
    }

    /// <summary>Continues gradients from outside: one sweep from all <paramref name="roots"/>, each with its dy.</summary>
    /// <exception cref="ShapeException">The shapes of a root and its gradient differ.</exception>
    public void Backward(params ReadOnlySpan<(Variable Y, Tensor Gradient)> roots)
    {
        foreach ((Variable y, Tensor gradient) in roots)
        {
            if (gradient.Shape != y.Shape)
                throw new ShapeException(
                    $"Backward: the variable has shape {y.Shape} and its gradient {gradient.Shape}; expected the same.");
            Keep(y);
            if (y.TakesGradient(out Tensor start, out float beta)) Device.Axpby(1, gradient, beta, start);
        }
        Sweep(nodes.Count - 1, 0);
    }

    /// <summary>Gives back every tensor that the tape still owns.</summary>
    public void Dispose()
    {
        foreach (Node node in nodes) node.Release();
        nodes.Clear();
    }

    internal Tensor ValueOf(int index) => nodes[index].Value;

    internal bool NeedsGradient(int index) => nodes[index].NeedsGradient;

    internal bool TakesGradient(int index, out Tensor gradient, out float beta)
    {
        Node node = nodes[index];
        gradient = null!;
        beta = 0;
        if (!node.NeedsGradient) return false;
        if (node.Parameter is { } parameter)
        {
            gradient = parameter.Gradient;
            beta = parameter.BetaForWriting();
            return true;
        }
        beta = node.Gradient is null ? 0 : 1;
        gradient = node.Gradient ??= Device.Empty(node.Value.Shape);
        return true;
    }

    /// <summary>For rules whose dx is dy: hands dy's memory over when x has no gradient yet, else adds it.</summary>
    internal void PassGradient(Variable from, Variable to)
    {
        Node source = nodes[from.Index], target = nodes[to.Index];
        if (!target.NeedsGradient) return;
        if (target.Parameter is null && target.Gradient is null)
        {
            (target.Gradient, source.Gradient) = (source.Gradient, null);
            return;
        }
        if (TakesGradient(to.Index, out Tensor gradient, out float beta)) Device.Axpby(1, source.Gradient!, beta, gradient);
    }

    private Variable RecordAlways(Variable y, Variable x, Action<Tensor> rule)
    {
        Node node = nodes[y.Index];
        node.NeedsGradient = true;
        node.Rule = rule;
        node.Saved = [x.Index];
        nodes[x.Index].Uses++;
        return y;
    }

    private void Recompute(Variable x, Func<Variable, Variable> body, Tensor dy)
    {
        int mark = nodes.Count;
        Variable input = Push(new Node { Value = x.Value, NeedsGradient = x.NeedsGradient });
        Variable y = body(input);
        ReleaseUnused(mark, y.Index);
        if (y.TakesGradient(out Tensor start, out float beta)) Device.Axpby(1, dy, beta, start);
        Sweep(nodes.Count - 1, mark + 1);
        if (nodes[input.Index].Gradient is not null) PassGradient(input, x);
        for (int i = nodes.Count - 1; i >= mark; i--) nodes[i].Release();
        nodes.RemoveRange(mark, nodes.Count - mark);
    }

    private void Sweep(int from, int to)
    {
        for (int i = from; i >= to; i--)
        {
            Node node = nodes[i];
            if (node.Rule is { } rule)
            {
                if (node.Gradient is { } dy)
                {
                    foreach (int index in node.Saved) Restore(nodes[index]);
                    rule(dy);
                }
                node.Rule = null;
                foreach (int index in node.Saved)
                    if (--nodes[index].Uses == 0) nodes[index].ReleaseValue();
            }
            node.ReleaseGradient();
            if (node.Uses == 0) node.ReleaseValue();
        }
    }

    private void ReleaseUnused(int mark, int except)
    {
        for (int i = mark; i < nodes.Count; i++)
            if (i != except && (nodes[i].Uses == 0 || nodes[i].Again is not null)) nodes[i].ReleaseValue();
    }

    private void Restore(Node node)
    {
        if (!node.Value.IsDisposed || node.Again is not { } again) return;
        foreach (int index in node.Saved) Restore(nodes[index]);
        node.Value = Device.Empty(node.Value.Shape);
        again(node.Value);
    }

    private Variable Push(Node node)
    {
        nodes.Add(node);
        return new Variable(this, nodes.Count - 1);
    }

    private sealed class Node
    {
        public required Tensor Value;
        public Tensor? Gradient;
        public Parameter? Parameter;
        public bool Owned, NeedsGradient;
        public Action<Tensor>? Rule, Again;
        public int[] Saved = [];
        public Tensor[] Extras = [];

        // Rules and claims that still need the value.
        public int Uses;

        public void ReleaseValue()
        {
            if (Owned) Value.Dispose();
        }

        public void ReleaseGradient()
        {
            Gradient?.Dispose();
            Gradient = null;
            foreach (Tensor extra in Extras) extra.Dispose();
            Extras = [];
        }

        public void Release()
        {
            ReleaseGradient();
            ReleaseValue();
        }
    }
}
