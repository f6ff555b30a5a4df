using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>
/// Products with a basis whose entries are made where they are used: a block generates 128 entries of 32 matrices from
/// their counters into shared memory and multiplies up to 32 rows (layers) with them, so each entry is made once for all
/// layers and never stored. The entries have the bits of <see cref="RandomBasis.Entry"/>.
/// </summary>
internal static class BasisKernels
{
    /// <summary>Entries, matrices and rows of a tile.</summary>
    public const int Across = 128, Matrices = 32, Layers = 32;

    /// <summary>What one block sums over; more is divided among blocks along z, by the shape alone.</summary>
    public const int MatricesOfPart = 128, EntriesOfPart = 1024;

    // Floats between rows of a tile: rows start four banks apart.
    private const int Pitch = Across + 4;

    // Fours of factors between matrices: eight lanes write to all banks.
    private const int FactorPitch = Layers / 4 + 1;

    [Kernel(256, 2)]
    public static void MixUniform(ArrayView<float> coefficients, ArrayView<float> partial, ArrayView<float> table, BasisNumbers n) =>
        Mix<UniformEntries>(coefficients, partial, table, n);

    [Kernel(256, 2)]
    public static void MixNormal(ArrayView<float> coefficients, ArrayView<float> partial, ArrayView<float> table, BasisNumbers n) =>
        Mix<NormalEntries>(coefficients, partial, table, n);

    [Kernel(256, 2)]
    public static void MixSign(ArrayView<float> coefficients, ArrayView<float> partial, ArrayView<float> table, BasisNumbers n) =>
        Mix<SignEntries>(coefficients, partial, table, n);

    [Kernel(256, 2)]
    public static void GradUniform(ArrayView<float> dw, ArrayView<float> partial, ArrayView<float> table, BasisNumbers n) =>
        Grad<UniformEntries>(dw, partial, table, n);

    [Kernel(256, 2)]
    public static void GradNormal(ArrayView<float> dw, ArrayView<float> partial, ArrayView<float> table, BasisNumbers n) =>
        Grad<NormalEntries>(dw, partial, table, n);

    [Kernel(256, 2)]
    public static void GradSign(ArrayView<float> dw, ArrayView<float> partial, ArrayView<float> table, BasisNumbers n) =>
        Grad<SignEntries>(dw, partial, table, n);

    /// <summary>
    /// partial[z, l, e] = Σ over the matrices i of part z of coefficients[l, i] · Bᵢ[e];
    /// a warp has 4 rows, a lane 4 entries.
    /// </summary>
    private static void Mix<TEntries>(ArrayView<float> coefficients, ArrayView<float> partial, ArrayView<float> table, BasisNumbers n)
        where TEntries : struct, IEntries
    {
        ArrayView<Float4> entries = SharedMemory.Allocate<Float4>(Matrices * Pitch / 4);
        ArrayView<Float4> factors = SharedMemory.Allocate<Float4>(Matrices * FactorPitch);
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, e0 = Grid.IdxX * Across, l0 = Grid.IdxY * Layers;
        int end = IntrinsicMath.Min(n.Count, (Grid.IdxZ + 1) * MatricesOfPart);
        Float4x4 sums = default;
        for (int i0 = Grid.IdxZ * MatricesOfPart; i0 < end; i0 += Matrices)
        {
            Generate<TEntries>(entries.Cast<float>(), table, n, i0, e0);
            // A lane has a matrix and a warp four rows, which are the four that it multiplies.
            if (l0 + 4 * warp < n.Rows) factors[lane * FactorPitch + warp] = Four(coefficients, n, i0 + lane, end, l0 + 4 * warp);
            Group.Barrier();
            // Warps without rows only generate.
            if (l0 + 4 * warp < n.Rows)
                for (int i = 0; i < Matrices; i++) sums.AddOuter(factors[i * FactorPitch + warp], entries[i * (Pitch / 4) + lane]);
            Group.Barrier();
        }
        int row = l0 + 4 * warp, column = e0 + 4 * lane, at = (Grid.IdxZ * n.Rows + row) * n.Size + column;
        Store(sums.A, partial, n, row, column, at);
        Store(sums.B, partial, n, row + 1, column, at + n.Size);
        Store(sums.C, partial, n, row + 2, column, at + 2 * n.Size);
        Store(sums.D, partial, n, row + 3, column, at + 3 * n.Size);
    }

    /// <summary>partial[z, l, i] = Σ over the entries e of part z of dw[l, e] · Bᵢ[e]; a thread has 2 rows and 2 matrices.</summary>
    private static void Grad<TEntries>(ArrayView<float> dw, ArrayView<float> partial, ArrayView<float> table, BasisNumbers n)
        where TEntries : struct, IEntries
    {
        ArrayView<Float4> entries = SharedMemory.Allocate<Float4>(Matrices * Pitch / 4);
        ArrayView<Float4> rows = SharedMemory.Allocate<Float4>(Layers * Pitch / 4);
        ArrayView<float> rowsOfOne = rows.Cast<float>();
        int i = Group.IdxX & 15, l = Group.IdxX / 16, i0 = Grid.IdxX * Matrices, l0 = Grid.IdxY * Layers;
        int end = IntrinsicMath.Min(n.Size, (Grid.IdxZ + 1) * EntriesOfPart);
        float near = 0, right = 0, below = 0, far = 0;
        bool hasTop = l0 + l < n.Rows, hasBottom = l0 + l + 16 < n.Rows;
        for (int e0 = Grid.IdxZ * EntriesOfPart; e0 < end; e0 += Across)
        {
            Generate<TEntries>(entries.Cast<float>(), table, n, i0, e0);
            for (int q = Group.IdxX; q < IntrinsicMath.Min(Layers, n.Rows - l0) * Across; q += 256)
            {
                int e = q & (Across - 1), row = q / Across;
                rowsOfOne[row * Pitch + e] = e0 + e < end ? dw[n.Offset + (l0 + row) * n.Size + e0 + e] : 0;
            }
            Group.Barrier();
            // Nearly every warp either has the second row or has it not.
            if (hasBottom)
            {
                for (int e = 0; e < Across / 4; e++)
                {
                    Float4 first = entries[i * (Pitch / 4) + e], second = entries[(i + 16) * (Pitch / 4) + e];
                    Float4 top = rows[l * (Pitch / 4) + e], bottom = rows[(l + 16) * (Pitch / 4) + e];
                    near += Float4.Dot(top, first);
                    right += Float4.Dot(top, second);
                    below += Float4.Dot(bottom, first);
                    far += Float4.Dot(bottom, second);
                }
            }
            else if (hasTop)
            {
                for (int e = 0; e < Across / 4; e++)
                {
                    Float4 top = rows[l * (Pitch / 4) + e];
                    near += Float4.Dot(top, entries[i * (Pitch / 4) + e]);
                    right += Float4.Dot(top, entries[(i + 16) * (Pitch / 4) + e]);
                }
            }
            Group.Barrier();
        }
        int at = (Grid.IdxZ * n.Rows + l0 + l) * n.Count + i0 + i;
        bool hasFirst = i0 + i < n.Count, hasSecond = i0 + i + 16 < n.Count;
        if (hasTop && hasFirst) partial[at] = near;
        if (hasTop && hasSecond) partial[at + 16] = right;
        if (hasBottom && hasFirst) partial[at + 16 * n.Count] = below;
        if (hasBottom && hasSecond) partial[at + 16 * n.Count + 16] = far;
    }

    // The coefficients of one matrix in four rows.
    private static Float4 Four(ArrayView<float> coefficients, BasisNumbers n, int i, int end, int row)
    {
        Float4 v = default;
        if (i >= end) return v;
        int at = n.Offset + row * n.Count + i;
        v.X = coefficients[at];
        if (row + 1 < n.Rows) v.Y = coefficients[at + n.Count];
        if (row + 2 < n.Rows) v.Z = coefficients[at + 2 * n.Count];
        if (row + 3 < n.Rows) v.W = coefficients[at + 3 * n.Count];
        return v;
    }

    // Entries e0 … e0 + 127 of matrices i0 … i0 + 31, matrix by matrix; each call of the generator gives every sixteenth.
    private static void Generate<TEntries>(ArrayView<float> tile, ArrayView<float> table, BasisNumbers n, int i0, int e0)
        where TEntries : struct, IEntries
    {
        for (int call = Group.IdxX; call < Matrices * 16; call += 256)
        {
            int lane = call & 15, i = call / 16, to = i * Pitch + lane;
            Word4 counter = default;
            counter.X = (uint)(TEntries.FirstCounter(e0) + lane);
            counter.Y = (uint)(i0 + i);
            counter.Z = n.Stream;
            counter.W = n.Layer;
            TEntries.Store(GpuPhilox.Block(counter, n.KeyLow, n.KeyHigh), e0, tile, to, table);
        }
    }

    private static void Store(Float4 sums, ArrayView<float> partial, BasisNumbers n, int row, int column, int at)
    {
        if (row >= n.Rows) return;
        if ((n.Size & 3) == 0 && column < n.Size)
        {
            partial.Cast<Float4>()[at / 4] = sums;
            return;
        }
        if (column < n.Size) partial[at] = sums.X;
        if (column + 1 < n.Size) partial[at + 1] = sums.Y;
        if (column + 2 < n.Size) partial[at + 2] = sums.Z;
        if (column + 3 < n.Size) partial[at + 3] = sums.W;
    }

    /// <summary>From the words of one counter to the eight entries of it that are in a tile of 128.</summary>
    private interface IEntries
    {
        /// <summary>The counter of lane 0 for the tile that begins at entry e0.</summary>
        static abstract int FirstCounter(int e0);

        /// <summary>Entry 16 · h of the tile goes to index to + 16 · h.</summary>
        static abstract void Store(Word4 words, int e0, ArrayView<float> tile, int to, ArrayView<float> table);
    }

    /// <summary>Signed 16-bit halves over 32,768: a half in the upper part of a word over 2³¹ is that, and exact.</summary>
    private readonly struct UniformEntries : IEntries
    {
        private const float PerUnit = 1f / 2147483648f;

        public static int FirstCounter(int e0) => e0 / 128 * 16;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(Word4 words, int e0, ArrayView<float> tile, int to, ArrayView<float> table)
        {
            Pair(words.X, tile, to);
            Pair(words.Y, tile, to + 32);
            Pair(words.Z, tile, to + 64);
            Pair(words.W, tile, to + 96);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Pair(uint word, ArrayView<float> tile, int to)
        {
            tile[to] = (int)(word << 16) * PerUnit;
            tile[to + 16] = (int)(word & 0xFFFF0000) * PerUnit;
        }
    }

    /// <summary>The same halves through the table of normal values.</summary>
    private readonly struct NormalEntries : IEntries
    {
        public static int FirstCounter(int e0) => e0 / 128 * 16;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(Word4 words, int e0, ArrayView<float> tile, int to, ArrayView<float> table)
        {
            Pair(words.X, tile, to, table);
            Pair(words.Y, tile, to + 32, table);
            Pair(words.Z, tile, to + 64, table);
            Pair(words.W, tile, to + 96, table);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Pair(uint word, ArrayView<float> tile, int to, ArrayView<float> table)
        {
            tile[to] = table[(int)(word & 0xFFFF)];
            tile[to + 16] = table[(int)(word >> 16)];
        }
    }

    /// <summary>One bit an entry, from the top of a word down: the tile has eight neighboring bits of one of the words.</summary>
    private readonly struct SignEntries : IEntries
    {
        public static int FirstCounter(int e0) => e0 / 2048 * 16;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(Word4 words, int e0, ArrayView<float> tile, int to, ArrayView<float> table)
        {
            int which = (e0 & 2047) / 512;
            uint word = which == 0 ? words.X : which == 1 ? words.Y : which == 2 ? words.Z : words.W;
            word <<= (e0 & 511) / 16;
            for (int h = 0; h < 8; h++, word <<= 1) tile[to + 16 * h] = Interop.IntAsFloat((word & 0x80000000) | 0x3F800000);
        }
    }
}
