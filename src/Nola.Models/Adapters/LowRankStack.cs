using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Stacked factors A (L, in, r) and B (L, r, out) of one kind of map: y += scale · (x · A) · B.</summary>
internal abstract class LowRankStack : MapStack
{
    private readonly AdapterOptions options;

    /// <summary>Factors of zeros.</summary>
    protected LowRankStack(MapGroup group, AdapterOptions options, Device device) : base(group)
    {
        this.options = options;
        using Rollback made = new();
        A = made.Add(new Parameter(group.Kind + ".A", device.Zeros([group.Count, group.In, options.Rank])));
        B = new Parameter(group.Kind + ".B", device.Zeros([group.Count, options.Rank, group.Out]));
        made.Commit();
    }

    /// <summary>Factors that are made already, and are taken over. a: (L, in, r), b: (L, r, out).</summary>
    protected LowRankStack(MapGroup group, AdapterOptions options, Tensor a, Tensor b) : base(group)
    {
        this.options = options;
        (A, B) = (new Parameter(group.Kind + ".A", a, trainable: false), new Parameter(group.Kind + ".B", b, trainable: false));
    }

    /// <summary>(L, in, r).</summary>
    public Parameter A { get; }

    /// <summary>(L, r, out).</summary>
    public Parameter B { get; }

    public override IEnumerable<Delta> On(Tape tape, int row) =>
        [new LowRank(tape.Read(A), tape.Read(B), row, options.Scale, Group.Maps[row].Column)];

    public override void Freeze() => A.Trainable = B.Trainable = false;

    internal override LowRankFactors? Factors(int row)
    {
        (int sizeA, int sizeB) = (Group.In * options.Rank, options.Rank * Group.Out);
        return new(
            A.Value.ToArray()[(row * sizeA)..((row + 1) * sizeA)],
            B.Value.ToArray()[(row * sizeB)..((row + 1) * sizeB)], options.Rank, options.Alpha);
    }

    protected override void Release()
    {
        A.Dispose();
        B.Dispose();
    }
}
