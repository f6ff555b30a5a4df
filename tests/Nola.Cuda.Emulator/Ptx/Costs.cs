namespace Nola.Cuda.Emulator;

/// <summary>What an instruction of one thread counts as; the order is that of kernel.h.</summary>
public enum Cost
{
    /// <summary>Products on tensor cores.</summary>
    Tensor,

    /// <summary>Floating-point sums, products, comparisons; a product and a sum that a driver joins are two.</summary>
    Float,

    /// <summary>Whole numbers: arithmetic, logic, comparisons, conversions, selections.</summary>
    Integer,

    /// <summary>Branches and barriers.</summary>
    Control,

    /// <summary>Accesses of global memory, asynchronous copies among them.</summary>
    Global,

    /// <summary>Accesses of shared memory, ldmatrix among them.</summary>
    Shared,

    /// <summary>Shuffles.</summary>
    Shuffle,

    /// <summary>Powers, logarithms, reciprocals, roots and divisions.</summary>
    Special,

    /// <summary>Moves and conversions of addresses, which a driver mostly removes, and parameters.</summary>
    Move,

    /// <summary>Bytes asked of global memory.</summary>
    Loaded,

    /// <summary>Bytes given to global memory.</summary>
    Stored,
}

/// <summary>What a run of instructions without a branch costs a thread.</summary>
internal sealed class Costs
{
    private readonly int[] counts = new int[Enum.GetValues<Cost>().Length];

    public void Add(PtxInstruction x)
    {
        counts[(int)KindOf(x)]++;
        if (KindOf(x) != Cost.Global) return;
        if (x.Name == "cp")
        {
            counts[(int)Cost.Loaded] += x.Operands.Length > 2 ? 16 : 0;
            return;
        }
        int bytes = x.Type.Bytes * (x.Has("v4") ? 4 : x.Has("v2") ? 2 : 1);
        if (x.Name is "ld" or "atom") counts[(int)Cost.Loaded] += bytes;
        if (x.Name is not "ld") counts[(int)Cost.Stored] += bytes;
    }

    public override string ToString() => "{ " + string.Join(", ", counts) + " }";

    private static Cost KindOf(PtxInstruction x) => x.Name switch
    {
        "mma" => Cost.Tensor,
        "ldmatrix" => Cost.Shared,
        "cp" => x.Has("commit_group") || x.Has("wait_group") ? Cost.Control : Cost.Global,
        "ld" or "st" or "atom" or "red" => x.Has("param") ? Cost.Move : x.Has("shared") ? Cost.Shared : Cost.Global,
        "bra" or "brx" or "ret" or "exit" or "bar" or "membar" => Cost.Control,
        "shfl" => Cost.Shuffle,
        "ex2" or "lg2" or "rcp" or "sqrt" or "rsqrt" => Cost.Special,
        "div" or "rem" => Cost.Special,
        "mov" or "cvta" => Cost.Move,
        "add" or "sub" or "mul" or "mad" or "fma" or "min" or "max" or "neg" or "abs" or "setp" when x.Type.IsFloat => Cost.Float,
        _ => Cost.Integer,
    };
}
