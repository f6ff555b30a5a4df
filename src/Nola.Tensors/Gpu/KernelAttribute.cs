namespace Nola.Tensors;

/// <summary>
/// Marks a GPU kernel: a static method without a result whose threads are told apart by their place in block and grid.
/// </summary>
/// <param name="threads">Threads of a block.</param>
/// <param name="blocks">Blocks that a multiprocessor must be able to hold at once, which limits the registers of a thread.</param>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class KernelAttribute(int threads, int blocks = 1) : Attribute
{
    /// <summary>Threads of a block.</summary>
    public int Threads => threads;

    /// <summary>Blocks that a multiprocessor must be able to hold.</summary>
    public int Blocks => blocks;

    /// <summary>Whether blocks may have fewer warps; a simulated block then has one, because a simulated barrier is slow.</summary>
    public bool AnyWarps { get; set; }
}
