using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void GatherRowsCore(Tensor table, Tensor indices, Tensor y, float beta) =>
        Launch(
            EmbeddingKernels.GatherRows, RowsOfWarps(y), Floats(table), Ints(indices),
            Floats(y), faults.View, table.Shape.Columns, table.Shape.Rows, beta);

    private protected override void GatherRowsCore(FrozenMatrix head, Tensor indices, Tensor y, float beta)
    {
        // Token t's embedding is column t of W: a row of what is stored when that is Wᵀ.
        GpuFrozenMatrix w = (GpuFrozenMatrix)head;
        Strided source = new()
        {
            Count = head.Columns,
            Length = head.Rows,
            Row = w.Transposed ? head.Rows : 1,
            Element = w.Transposed ? 1 : head.Columns,
        };
        using Tensor? expanded = w.Format.IsQuantized() ? Expanded(w) : null;
        ArrayView<int> which = Ints(indices);
        if (w.Format != WeightFormat.BFloat16)
            Launch(EmbeddingKernels.GatherWide, RowsOfWarps(y), Floats(expanded ?? w.Weight), which, Floats(y), faults.View, source, beta);
        else
            Launch(EmbeddingKernels.GatherNarrow, RowsOfWarps(y), Halves(w.Weight), Ints(indices), Floats(y), faults.View, source, beta);
    }

    private protected override void ScatterAddRowsCore(Tensor dy, Tensor indices, Tensor dtable)
    {
        if (indices.Length == 0) return;
        int n = indices.Length, columns = dtable.Shape.Columns;
        using Tensor next = Empty([n], DType.Int32), first = Empty([n], DType.Int32);
        Launch(EmbeddingKernels.LinkEqual, new(Blocks.For(n, 128)), Ints(indices), Ints(next), Ints(first), faults.View, dtable.Shape.Rows);
        Launch(
            EmbeddingKernels.ScatterAdd, new(n, Blocks.For(columns, 128)), Floats(dy),
            Ints(indices), Ints(next), Ints(first), Floats(dtable), columns);
    }
}

/// <summary>Rows of a matrix in memory of any order: element e of row i is at i · Row + e · Element.</summary>
internal struct Strided
{
    public int Count, Length, Row, Element;
}

/// <summary>How elements of one type are read as float32.</summary>
internal interface IElement<T> where T : unmanaged
{
    static abstract float Value(T element);

    /// <summary>Four neighbors at 4 · <paramref name="quarter"/>.</summary>
    static abstract Float4 Four(ArrayView<T> elements, int quarter);

    /// <summary>Eight neighbors at 8 · <paramref name="eighth"/>.</summary>
    static abstract Float8 Eight(ArrayView<T> elements, int eighth);
}

/// <summary>float32 as it is.</summary>
internal readonly struct WideElement : IElement<float>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Value(float element) => element;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Four(ArrayView<float> elements, int quarter) => elements.Cast<Float4>()[quarter];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float8 Eight(ArrayView<float> elements, int eighth) =>
        Float8.Of(elements.Cast<Float4>()[2 * eighth], elements.Cast<Float4>()[2 * eighth + 1]);
}

/// <summary>bfloat16: the upper half of a float32.</summary>
internal readonly struct NarrowElement : IElement<ushort>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Value(ushort element) => Interop.IntAsFloat((uint)element << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Four(ArrayView<ushort> elements, int quarter)
    {
        Word2 bits = elements.Cast<Word2>()[quarter];
        return Four(bits.X, bits.Y);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float8 Eight(ArrayView<ushort> elements, int eighth)
    {
        Word4 bits = elements.Cast<Word4>()[eighth];
        return Float8.Of(Four(bits.X, bits.Y), Four(bits.Z, bits.W));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Four(uint near, uint far) =>
        Float4.Of(
            Interop.IntAsFloat(near << 16), Interop.IntAsFloat(near & 0xFFFF0000),
            Interop.IntAsFloat(far << 16), Interop.IntAsFloat(far & 0xFFFF0000));
}

/// <summary>One warp copies a row. Adding to rows follows chains of equal indices, so no two threads add to one element.</summary>
internal static class EmbeddingKernels
{
    [Kernel(256)]
    public static void GatherRows(
        ArrayView<float> table, ArrayView<int> indices, ArrayView<float> y, ArrayView<int> faults, int columns, int rows, float beta)
    {
        int lane = Group.IdxX & 31, n = Grid.IdxX * 8 + Group.IdxX / 32;
        if (n >= indices.IntLength || !Inside(indices[n], rows, lane, faults)) return;
        int wide = (columns & 3) == 0 ? columns / 4 : 0, from = indices[n] * wide, to = n * wide;
        ArrayView<Float4> table4 = table.Cast<Float4>(), y4 = y.Cast<Float4>();
        for (int j = lane; j < wide; j += 32)
        {
            Float4 value = table4[from + j];
            if (beta != 0) value += y4[to + j];
            y4[to + j] = value;
        }
        for (int j = 4 * wide + lane; j < columns; j += 32)
            y[(long)n * columns + j] = table[(long)indices[n] * columns + j] + (beta == 0 ? 0 : y[(long)n * columns + j]);
    }

    [Kernel(256)]
    public static void GatherWide(
        ArrayView<float> w, ArrayView<int> indices, ArrayView<float> y, ArrayView<int> faults, Strided source, float beta) =>
        Gather<float, WideElement>(w, indices, y, faults, source, beta);

    [Kernel(256)]
    public static void GatherNarrow(
        ArrayView<ushort> w, ArrayView<int> indices, ArrayView<float> y, ArrayView<int> faults, Strided source, float beta) =>
        Gather<ushort, NarrowElement>(w, indices, y, faults, source, beta);

    private static void Gather<T, TElement>(
        ArrayView<T> w, ArrayView<int> indices, ArrayView<float> y, ArrayView<int> faults, Strided source, float beta)
        where T : unmanaged
        where TElement : struct, IElement<T>
    {
        int lane = Group.IdxX & 31, n = Grid.IdxX * 8 + Group.IdxX / 32;
        if (n >= indices.IntLength || !Inside(indices[n], source.Count, lane, faults)) return;
        long from = (long)indices[n] * source.Row, to = (long)n * source.Length;
        for (int j = lane; j < source.Length; j += 32)
            y[to + j] = TElement.Value(w[from + (long)j * source.Element]) + (beta == 0 ? 0 : y[to + j]);
    }

    /// <summary>next[n] = the first m after n with the same index, or N; first[n] = 1 when there is none before it.</summary>
    [Kernel(128)]
    public static void LinkEqual(ArrayView<int> indices, ArrayView<int> next, ArrayView<int> first, ArrayView<int> faults, int rows)
    {
        int n = Grid.IdxX * Group.DimX + Group.IdxX, count = indices.IntLength;
        if (n >= count) return;
        int own = indices[n], found = count, alone = Inside(own, rows, 0, faults) ? 1 : 0;
        for (int m = count - 1; m > n; m--)
            if (indices[m] == own) found = m;
        for (int m = 0; m < n; m++)
            if (indices[m] == own) alone = 0;
        next[n] = found;
        first[n] = alone;
    }

    /// <summary>The first occurrence of an index adds the rows of all of them, in ascending order; a block has 128 columns.</summary>
    [Kernel(128)]
    public static void ScatterAdd(
        ArrayView<float> dy, ArrayView<int> indices, ArrayView<int> next, ArrayView<int> first, ArrayView<float> dtable, int columns)
    {
        int n = Grid.IdxX, j = Grid.IdxY * 128 + Group.IdxX;
        if (first[n] == 0 || j >= columns) return;
        long at = (long)indices[n] * columns + j;
        float sum = dtable[at];
        for (int m = n; m < indices.IntLength; m = next[m]) sum += dy[(long)m * columns + j];
        dtable[at] = sum;
    }

    private static bool Inside(int index, int rows, int lane, ArrayView<int> faults)
    {
        if (index >= 0 && index < rows) return true;
        if (lane == 0) Faults.Note(faults, Faults.IndexOutside, index, rows, 0, 0);
        return false;
    }
}
