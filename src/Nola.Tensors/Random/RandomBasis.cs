namespace Nola.Tensors;

/// <summary>Distribution of the entries of a random basis.</summary>
public enum BasisEntries
{
    /// <summary>Uniform on [−1, 1): a signed 16-bit integer over 32,768.</summary>
    Uniform,

    /// <summary>Standard normal, through the table of <see cref="NormalTable"/>.</summary>
    Normal,

    /// <summary>−1 or +1 with equal probability: one random bit an entry.</summary>
    Sign,
}

/// <summary>
/// Count matrices of (Rows, Cols) whose entries are a pure function of (Seed, Stream, Layer, matrix, entry): a value, no
/// memory. Exact specification with test vectors: docs/basis.md. The first k′ matrices of a larger basis are the same.
/// </summary>
/// <param name="Seed">Key of the generator.</param>
/// <param name="Stream">Kind of map and factor, see <see cref="StreamOf"/>.</param>
/// <param name="Layer">0 when all layers share the basis, else the layer's number + 1.</param>
/// <param name="Count">k, the number of matrices.</param>
/// <param name="Rows">Rows of each.</param>
/// <param name="Cols">Columns of each.</param>
/// <param name="Entries">Distribution of the entries.</param>
public readonly record struct RandomBasis(ulong Seed, uint Stream, uint Layer, int Count, int Rows, int Cols, BasisEntries Entries)
{
    /// <summary>Name and version of the specification; stands in every adapter file.</summary>
    public const string GeneratorId = "philox4x32-10/nola1";

    /// <summary>The matrix number of the frozen offset A₀, which no basis reaches.</summary>
    public const uint OffsetIndex = 0xFFFFFFFF;

    /// <summary>Entries of one matrix.</summary>
    public int Size => Rows * Cols;

    /// <summary>Entries that sixteen neighboring counters give: 2,048 signs or 128 others.</summary>
    internal int GroupSize => Entries == BasisEntries.Sign ? 2048 : 128;

    /// <summary>The stream word of a kind of map (0 … 255) and a factor (0: A, 1: B).</summary>
    public static uint StreamOf(int kind, int factor) => (uint)(kind | (factor << 8));

    /// <summary>
    /// Entry <paramref name="e"/> = row · Cols + column of matrix <paramref name="index"/>:
    /// the definition, in scalar code.
    /// </summary>
    public float Entry(uint index, int e)
    {
        int p = e % GroupSize, lane = p % 16;
        uint counter = 16 * (uint)(e / GroupSize) + (uint)lane;
        (uint x0, uint x1, uint x2, uint x3) = Philox.Block(counter, index, Stream, Layer, (uint)Seed, (uint)(Seed >> 32));
        int word = Entries == BasisEntries.Sign ? p / 512 : p / 32;
        uint x = word switch { 0 => x0, 1 => x1, 2 => x2, _ => x3 };
        if (Entries == BasisEntries.Sign) return ((x >> (31 - p % 512 / 16)) & 1) == 0 ? 1 : -1;
        ushort half = (ushort)(p / 16 % 2 == 0 ? x : x >> 16);
        return Entries == BasisEntries.Normal ? NormalTable.Value(half) : (short)half / 32768f;
    }

    /// <summary>All entries of matrix <paramref name="index"/>, row-major.</summary>
    /// <exception cref="ShapeException">The destination has another length.</exception>
    public unsafe void Fill(uint index, Span<float> entries)
    {
        if (entries.Length != Size)
            throw new ShapeException($"Fill: {entries.Length} entries for a matrix ({Rows}, {Cols}); expected {Size}.");
        fixed (float* destination = entries) BasisPanels.Fill(this, index, destination);
    }
}
