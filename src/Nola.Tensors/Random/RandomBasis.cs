using System.Runtime.Intrinsics;

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

    /// <summary>Entries that sixteen neighbouring counters give: 2,048 signs or 128 others.</summary>
    internal int GroupSize => Entries == BasisEntries.Sign ? 2048 : 128;

    /// <summary>The stream word of a kind of map (0 … 255) and a factor (0: A, 1: B).</summary>
    public static uint StreamOf(int kind, int factor) => (uint)(kind | (factor << 8));

    /// <summary>Entry <paramref name="e"/> = row · Cols + column of matrix <paramref name="index"/>: the definition, in scalar code.</summary>
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
        if (entries.Length != Size) throw new ShapeException($"Fill: {entries.Length} entries for a matrix ({Rows}, {Cols}); expected {Size}.");
        float* group = stackalloc float[GroupSize];
        for (int e = 0; e < Size; e += GroupSize)
        {
            BasisPanels.Group(this, (uint)(16 * (e / GroupSize)), 1, index, 0, group, 16);
            int count = Math.Min(GroupSize, Size - e);
            new ReadOnlySpan<float>(group, count).CopyTo(entries.Slice(e, count));
        }
    }
}

/// <summary>
/// The standard normal at 16 bits: value(u) = round(4096 · Φ⁻¹((u + ½) / 65536)) / 4096, so every device has the same
/// bits without a logarithm or a cosine. Antisymmetric: value(65535 − u) = −value(u); the largest is 4.325.
/// </summary>
public static class NormalTable
{
    private static readonly float[] values = Build();

    /// <summary>The table entry of a 16-bit word.</summary>
    public static float Value(ushort u) => values[u];

    /// <summary>All 65,536 entries.</summary>
    internal static ReadOnlySpan<float> Values => values;

    /// <summary>
    /// Φ⁻¹(p) for 0 &lt; p &lt; 1 in double precision: Wichura (1988), Algorithm AS 241, PPND16, relative error about 1e-16.
    /// </summary>
    public static double Quantile(double p)
    {
        double q = p - 0.5;
        if (Math.Abs(q) <= 0.425)
        {
            double s = 0.180625 - q * q;
            return q * Ratio(s,
                [2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457, 13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608],
                [5226.495278852854561, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867, 5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1]);
        }
        double r = Math.Sqrt(-Math.Log(q < 0 ? p : 1 - p));
        double x = r <= 5
            ? Ratio(r - 1.6,
                [7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258, 3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734],
                [1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459, 0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1])
            : Ratio(r - 5,
                [2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093, 0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772],
                [2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4, 0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1]);
        return q < 0 ? -x : x;
    }

    private static float[] Build()
    {
        float[] table = new float[65536];
        for (int u = 32768; u < 65536; u++)
        {
            table[u] = (float)(Math.Round(4096 * Quantile((u + 0.5) / 65536)) / 4096);
            table[65535 - u] = -table[u];
        }
        return table;
    }

    private static double Ratio(double x, ReadOnlySpan<double> numerator, ReadOnlySpan<double> denominator)
    {
        double n = 0, d = 0;
        foreach (double c in numerator) n = n * x + c;
        foreach (double c in denominator) d = d * x + c;
        return n / d;
    }
}
