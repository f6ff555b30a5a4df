using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// What is added to a frozen model's linear maps: y += (alpha / r) · (x · A) · B for each adapted map. Layers of one kind
/// of map share two stacked factors, A (L, in, r) and B (L, r, out). What is trained, and how the factors come from it,
/// is the subclass's: <see cref="LoraAdapter"/> trains the factors, <see cref="NolaAdapter"/> mixes them from a random basis.
/// </summary>
public abstract class Adapter : IDisposable
{
    private readonly Dictionary<MapKind, Factors> factors = [];

    private protected Adapter(Gpt2 model, int rank, float alpha, IReadOnlyList<string> targets)
    {
        if (model.Adapter is not null) throw new NolaException("The model has an adapter already; detach or merge it first.");
        SortedDictionary<MapKind, int[]> layers = Check(model.Config, rank, alpha, targets);
        (Model, Rank, Alpha, Targets) = (model, rank, alpha, targets);
        try
        {
            foreach ((MapKind kind, int[] adapted) in layers) factors[kind] = new Factors(model, kind, adapted, rank);
        }
        catch
        {
            DisposeFactors();
            throw;
        }
    }

    /// <summary>Refuses what no adapter can be, before anything is allocated. Returns the layers of each adapted kind.</summary>
    /// <exception cref="NolaException">A setting is out of range.</exception>
    internal static SortedDictionary<MapKind, int[]> Check(Gpt2Config config, int rank, float alpha, IReadOnlyList<string> targets)
    {
        if (!(alpha > 0 && float.IsFinite(alpha))) throw new NolaException($"alpha is {alpha}; expected a finite number above 0.");
        SortedDictionary<MapKind, int[]> layers = AdapterTargets.Resolve(targets, config);
        // The product of two factors has no higher rank than its sides are long.
        int longest = layers.Keys.Max(kind => Math.Max(kind.Sizes(config).In, kind.Sizes(config).Out));
        if (rank < 1 || rank > longest)
            throw new NolaException(
                $"rank is {rank}; expected 1 to {longest}, the longest side of the adapted maps.");
        long bytes = 0;
        foreach ((MapKind kind, int[] adapted) in layers)
        {
            (int inputs, int outputs, _) = kind.Sizes(config);
            long stacked = (long)adapted.Length * Math.Max(inputs, outputs) * rank;
            if (stacked > Array.MaxLength)
                throw new NolaException(
                    $"rank is {rank}; with it, a factor of {kind.Name()} in {adapted.Length} layers has {stacked} elements, "
                    + $"and at most {Array.MaxLength} are supported.");
            bytes += (long)adapted.Length * (inputs + outputs) * rank * sizeof(float);
        }
        long available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (bytes > available)
            throw new NolaException(
                $"rank is {rank}; with it, the factors take {bytes >> 20} MiB, and this machine has {available >> 20} MiB.");
        return layers;
    }

    /// <summary>The model it is on.</summary>
    public Gpt2 Model { get; }

    /// <summary>r.</summary>
    public int Rank { get; }

    /// <summary>Numerator of the output's scale.</summary>
    public float Alpha { get; }

    /// <summary>alpha / r.</summary>
    public float Scale => Alpha / Rank;

    /// <summary>The patterns it was attached with, see <see cref="AdapterTargets"/>.</summary>
    public IReadOnlyList<string> Targets { get; }

    /// <summary>What is trained.</summary>
    public abstract IReadOnlyList<Parameter> Parameters { get; }

    /// <summary>How many numbers are trained.</summary>
    public long ParameterCount => Parameters.Sum(p => (long)p.Shape.Length);

    /// <summary>The adapted kinds of map, in the order of their numbers, each with its layers.</summary>
    public IEnumerable<(MapKind Kind, IReadOnlyList<int> Layers)> AdaptedMaps =>
        FactorSets.Select(f => (f.Kind, (IReadOnlyList<int>)f.Layers));

    internal IEnumerable<Factors> FactorSets => factors.Values.OrderBy(f => f.Kind);

    /// <summary>Brings the factors up to date with the parameters; once before the batches of an optimiser step.</summary>
    public abstract void BeginStep();

    /// <summary>Brings the factors' gradients to the parameters; once after the batches of an optimiser step.</summary>
    public abstract void EndStep();

    /// <summary>Takes the adapter off its model.</summary>
    public void Detach()
    {
        if (Model.Adapter == this) Model.Adapter = null;
    }

    /// <summary>Puts it back on its model after <see cref="Detach"/>: many adapters can wait beside one base.</summary>
    /// <exception cref="NolaException">The model has another adapter.</exception>
    public void Attach()
    {
        if (Model.Adapter is not null && Model.Adapter != this) throw new NolaException("The model has an adapter already; detach or merge it first.");
        Model.Adapter = this;
    }

    /// <summary>W += (alpha / r) · A · B in the model's own weights, and takes the adapter off.</summary>
    public void Merge()
    {
        BeginStep();
        foreach (IGrouping<string, (Factors F, int Row)> map in FactorSets
            .SelectMany(f => f.Layers.Select((layer, row) => (Name: f.Kind.MapName(layer), F: f, Row: row)))
            .GroupBy(x => x.Name, x => (x.F, x.Row)))
        {
            LinearMap linear = Model.Map(map.Key);
            using Tensor weight = linear.CopyWeight();                            // (in, out)
            foreach ((Factors f, int row) in map)
            {
                Matrix columns = ((Matrix)weight).SliceColumns(f.Column, f.Out);
                Model.Device.MatMul(f.MatrixA(row), false, f.MatrixB(row), false, columns, Scale, 1);
            }
            linear.Replace(weight);
        }
        Detach();
    }

    /// <summary>Detaches and gives the memory back.</summary>
    public virtual void Dispose()
    {
        Detach();
        DisposeFactors();
        GC.SuppressFinalize(this);
    }

    private void DisposeFactors()
    {
        foreach (Factors set in factors.Values) set.Dispose();
    }

    internal DeltaRows[] On(Tape tape, int layer, ReadOnlySpan<MapKind> kinds)
    {
        List<DeltaRows> found = [];
        foreach (MapKind kind in kinds)
            if (factors.TryGetValue(kind, out Factors? f) && f.Row(layer) is int row and >= 0)
                found.Add(new LowRank(tape.Read(f.A), tape.Read(f.B), row, Scale, f.Column));
        return [.. found];
    }

    /// <summary>The stacked factors of one kind of map, over the layers that are adapted.</summary>
    internal sealed class Factors : IDisposable
    {
        private readonly int[] rows;

        public Factors(Gpt2 model, MapKind kind, int[] layers, int rank)
        {
            (In, Out, Column) = kind.Sizes(model.Config);
            (Kind, Layers, Rank) = (kind, layers, rank);
            A = new Parameter(kind.Name() + ".A", model.Device.Zeros([layers.Length, In, rank]));
            try
            {
                B = new Parameter(kind.Name() + ".B", model.Device.Zeros([layers.Length, rank, Out]));
            }
            catch
            {
                A.Dispose();
                throw;
            }
            rows = new int[model.Config.Layers];
            Array.Fill(rows, -1);
            for (int i = 0; i < layers.Length; i++) rows[layers[i]] = i;
        }

        public MapKind Kind { get; }

        public int[] Layers { get; }

        public int In { get; }

        public int Out { get; }

        public int Rank { get; }

        public int Column { get; }

        public Parameter A { get; }

        public Parameter B { get; }

        public int Row(int layer) => rows[layer];

        public Matrix MatrixA(int row) => new(A.Value, In, Rank, row * In * Rank, Rank);

        public Matrix MatrixB(int row) => new(B.Value, Rank, Out, row * Rank * Out, Out);

        public void Dispose()
        {
            A.Dispose();
            B.Dispose();
        }
    }
}
