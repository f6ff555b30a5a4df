using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// A whole ΔW (in, out) of each map of one kind, made of what is trained whenever that has changed: y += x · ΔW. It takes the memory
/// of the adapted weights, and as much again for its gradient while it is trained.
/// </summary>
internal abstract class WeightStack : MapStack
{
    /// <summary>Room for the weights; their content is undefined until <see cref="Update"/>.</summary>
    protected WeightStack(MapGroup group, Device device) : base(group) =>
        Weight = new Parameter(group.Kind + ".weight", device.Empty([group.Count, group.In, group.Out]));

    /// <summary>ΔW of every layer. (L, in, out)</summary>
    public Parameter Weight { get; }

    public override IEnumerable<Delta> On(Tape tape, int row) =>
        [new AddedWeight(tape.Read(Weight), row, Group.Maps[row].Column)];

    public override void Update() => Make(Weight.Value);

    public override void CollectGradients()
    {
        if (!Weight.HasGradient) return;
        Tensor[] gradients = [.. Parameters.Select(parameter => parameter.Value.Device.Empty(parameter.Shape))];
        try
        {
            Gradients(Weight.Gradient, gradients);
            Weight.ClearGradient();
            using Tape tape = new(Weight.Value.Device);
            tape.Backward([.. Parameters.Select((parameter, i) => (tape.Read(parameter), gradients[i]))]);
        }
        finally
        {
            foreach (Tensor gradient in gradients) gradient.Dispose();
        }
    }

    public override void Freeze()
    {
        Weight.Trainable = false;
        foreach (Parameter parameter in Parameters) parameter.Trainable = false;
    }

    /// <summary>Refuses maps whose weights could not be held once more.</summary>
    /// <exception cref="NolaException">They are too large for an array, or for this machine.</exception>
    public static void Check(string title, IReadOnlyList<MapGroup> groups)
    {
        long bytes = 0;
        foreach (MapGroup group in groups)
        {
            long stacked = (long)group.Count * group.In * group.Out;
            if (stacked > Array.MaxLength)
                throw new NolaException(
                    $"targets: what {title} adds to {group.Kind} in {group.Count} layers has {stacked} elements, and at most "
                    + $"{Array.MaxLength} are supported; name fewer maps.");
            bytes += stacked * sizeof(float);
        }
        long available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (bytes > available)
            throw new NolaException(
                $"targets: what {title} adds to these maps takes {bytes >> 20} MiB, and this machine has {available >> 20} MiB; "
                + "name fewer maps.");
    }

    /// <summary>Bytes of the weights of all maps.</summary>
    public static long Bytes(IReadOnlyList<MapGroup> groups) =>
        groups.Sum(group => (long)group.Count * group.In * group.Out * sizeof(float));

    /// <summary>Writes ΔW of every layer. (L, in, out)</summary>
    protected abstract void Make(Tensor weight);

    /// <summary>Writes the gradients of the parameters. dweight: (L, in, out).</summary>
    protected abstract void Gradients(Tensor dweight, IReadOnlyList<Tensor> gradients);

    protected override void Release()
    {
        foreach (Parameter parameter in Parameters) parameter.Dispose();
        Weight.Dispose();
    }

    /// <summary>The weight of one layer. (in, out)</summary>
    protected static Matrix LayerOf(Tensor weight, int layer)
    {
        (int rows, int columns) = (weight.Shape[1], weight.Shape[2]);
        return new(weight, rows, columns, layer * rows * columns, columns);
    }
}
