namespace Nola.Tensors;

/// <summary>
/// Products of which one side is at most <see cref="MostNarrow"/>, those of adapters of low rank. A tile whose columns are lanes would
/// leave most lanes empty: here lanes are steps where those lie next to each other, or the columns of the other side.
/// </summary>
internal static unsafe partial class Gemm
{
    /// <summary>Columns, or rows, of a narrow product.</summary>
    public const int MostNarrow = 8;

    // Fewer steps than this are not worth lanes of them, or a buffer of sums.
    private const int LeastNarrowSteps = 32;

    // Columns of a sum of outer products that are shared out together; and the part of B, steps by columns, that is in the cache while
    // the sums of its steps are made, which are then added to those before.
    private const int SharedColumns = 64, OuterSteps = 32, OuterColumns = 1024;

    /// <summary>
    /// Whether a product with a side of this size and so many steps is narrow: <c>Dot</c> where that side is the columns and A is not
    /// transposed, <c>Outer</c> where A is. How many rows a <c>Dot</c> has does not decide it, so that a row's sums are the same alone
    /// and among others.
    /// </summary>
    public static bool IsNarrow(int side, int steps) => side <= MostNarrow && steps >= LeastNarrowSteps;

    /// <summary>
    /// C (m × n) = alpha · A · Bᵀ [+ bias] [+ C] with rows of A (m × k) and of B (n × k). An element is the sum of a vector, whose lanes
    /// sum every step that is theirs, and then of the steps behind the last whole vector.
    /// </summary>
    public static void Dot(
        ThreadTeam team, int m, int n, int k, float* a, nint aRow, float* b, nint bRow, float* c, nint cRow,
        float alpha = 1, float* bias = null, bool accumulate = false)
    {
        // Whole tiles of rows, of some 32 Ki elements of A.
        int piece = Math.Max(1, 32768 / k / 6) * 6;
        team.For(m, piece, (first, last) =>
            Dispatch.Run(new DotRows(n, k, a, aRow, b, bRow, c, cRow, alpha, bias, accumulate), first, last));
    }

    /// <summary>
    /// C (m × n) = alpha · Aᵀ · B [+ C], where row t of A is m elements at <c>a[t · aRow]</c> and row t of B n elements at
    /// <c>b[t · bRow]</c>. B is taken from memory once, as it lies.
    /// </summary>
    public static void Outer(
        ThreadTeam team, int m, int n, int k, float* a, nint aRow, float* b, nint bRow, float* c, nint cRow,
        float alpha = 1, bool accumulate = false)
    {
        int chunks = (n + SharedColumns - 1) / SharedColumns, piece = (chunks + team.Threads - 1) / team.Threads;
        team.For(chunks, piece, (first, last) =>
        {
            // Rows of sums a multiple of 4 KiB apart would be taken for each other where one is read after the other was written.
            int j = first * SharedColumns, columns = Math.Min(n, last * SharedColumns) - j, stride = Scratch.Align(columns) + 16;
            float* sums = Scratch.Floats((long)m * stride);
            new Span<float>(sums, m * stride).Clear();
            OuterRows loop = new(m, k, a, aRow, b + j, bRow, sums, stride);
            Dispatch.Run(loop, 0, columns);
            for (int i = 0; i < m; i++)
            {
                float* from = sums + i * stride, to = c + i * cRow + j;
                if (accumulate) for (int q = 0; q < columns; q++) to[q] += alpha * from[q];
                else for (int q = 0; q < columns; q++) to[q] = alpha * from[q];
            }
        });
    }

    /// <summary>Rows of C = alpha · A · Bᵀ [+ bias] [+ C].</summary>
    internal readonly struct DotRows(
        int n, int k, float* a, nint aRow, float* b, nint bRow, float* c, nint cRow, float alpha, float* bias, bool accumulate) : ISimdLoop
    {
        private readonly float* a = a, b = b, c = c, bias = bias;

        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            float* sums = stackalloc float[6 * 4];
            int i = start;
            // Twenty-four sums and the vectors that they are made of fill 32 registers, eight sums sixteen.
            if (S.Width != 8) for (; i + 6 <= end; i += 6) Rows<S, V>(i, 6, sums);
            for (; i + 2 <= end; i += 2) Rows<S, V>(i, 2, sums);
            if (i < end) Rows<S, V>(i, 1, sums);
        }

        private void Rows<S, V>(int i, int rows, float* sums) where S : struct, ISimd<V> where V : struct
        {
            int whole = k / S.Width * S.Width;
            float* left = a + i * aRow;
            for (int j = 0; j < n; j += 4)
            {
                // Columns that are missing are the last one again, and go nowhere.
                int columns = Math.Min(4, n - j);
                float* b0 = b + j * bRow;
                float* b1 = columns > 1 ? b0 + bRow : b0, b2 = columns > 2 ? b1 + bRow : b1, b3 = columns > 3 ? b2 + bRow : b2;
                if (rows == 6) NarrowKernels.Dot6<S, V>(whole, left, aRow, b0, b1, b2, b3, sums);
                else if (rows == 2) NarrowKernels.Dot2<S, V>(whole, left, left + aRow, b0, b1, b2, b3, sums);
                else NarrowKernels.Dot1<S, V>(whole, left, b0, b1, b2, b3, sums);
                for (int r = 0; r < rows; r++)
                    for (int q = 0; q < columns; q++)
                    {
                        float sum = sums[4 * r + q];
                        for (int p = whole; p < k; p++) sum = MathF.FusedMultiplyAdd(left[r * aRow + p], b0[q * bRow + p], sum);
                        sum *= alpha;
                        if (bias != null) sum += bias[j + q];
                        float* to = c + (i + r) * cRow + j + q;
                        *to = accumulate ? sum + *to : sum;
                    }
            }
        }
    }

    /// <summary>Columns of sums (m × n, rows a stride apart) += Aᵀ · B, m at most eight.</summary>
    internal readonly struct OuterRows(int m, int k, float* a, nint aRow, float* b, nint bRow, float* sums, int stride) : ISimdLoop
    {
        private readonly float* a = a, b = b, sums = sums;

        public void Run<S, V>(int start, int end) where S : struct, ISimd<V> where V : struct
        {
            for (int j = start; j < end; j += OuterColumns)
                for (int t = 0; t < k; t += OuterSteps)
                    for (int i = 0; i < m; i += 4)
                        Rows<S, V>(
                            j, Math.Min(end, j + OuterColumns), Math.Min(OuterSteps, k - t), Math.Min(4, m - i),
                            a + t * aRow + i, b + t * bRow, sums + i * stride);
        }

        // At most four rows of the sums.
        private void Rows<S, V>(int j, int end, int steps, int rows, float* left, float* right, float* to)
            where S : struct, ISimd<V>
            where V : struct
        {
            if (S.Width != 8)
                for (; j + 4 * S.Width <= end; j += 4 * S.Width)
                    NarrowKernels.Outer4<S, V>(steps, rows, left, aRow, right + j, bRow, to + j, stride);
            for (; j + 2 * S.Width <= end; j += 2 * S.Width)
                NarrowKernels.Outer2<S, V>(steps, rows, left, aRow, right + j, bRow, to + j, stride);
            for (; j < end; j++)
                for (int i = 0; i < rows; i++)
                {
                    float sum = 0;
                    for (int p = 0; p < steps; p++) sum = MathF.FusedMultiplyAdd(left[p * aRow + i], right[p * bRow + j], sum);
                    to[i * stride + j] += sum;
                }
        }
    }
}
