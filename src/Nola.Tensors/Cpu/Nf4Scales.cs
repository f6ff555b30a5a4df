using System.Numerics;
using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>
/// The magnitudes of blocks of NF4 as panels need them: for the columns of a panel, at some steps. Blocks run along a column of W
/// (a row of the checkpoint's (out, in)); where its length is a multiple of 64, all columns begin new ones at the same steps. Else
/// they do so at multiples of what the length has in common with 64, which is a power of two.
/// </summary>
internal sealed unsafe class Nf4Scales : IDisposable
{
    // Values whose magnitudes share one of their own, as a power of two: 256 blocks of 64.
    private const int NestedShift = 14;

    private readonly int rows, shift, groups;
    private readonly Part[] parts;
    private readonly Tensor scales;                                               // (panels, groups, width): floats, or bytes of codes
    private readonly Tensor? nested;                                              // each part's magnitudes, then tables of 256
    private readonly float* plain;                                                // where they lie, as they are asked for often
    private readonly byte* codes;
    private readonly float* values;

    /// <summary>Takes what it needs of matrices side by side.</summary>
    public Nf4Scales(CpuDevice device, IReadOnlyList<QuantizedMatrix> matrices)
    {
        rows = matrices[0].Inputs;
        shift = BitOperations.TrailingZeroCount(rows | QuantizedMatrix.BlockSize);
        groups = rows >> shift;
        IsNested = matrices[0].Nested is not null;
        NestedScales[] own = [.. matrices.Select(matrix => matrix.Nested).OfType<NestedScales>()];
        // As a rule there is one for all.
        List<float[]> tables = [.. own.Select(part => part.Map).DistinctBy(table => string.Join(' ', table))];
        int columns = 0, magnitudes = 0, sum = own.Sum(part => part.Scales.Length);
        parts = new Part[matrices.Count];
        for (int i = 0; i < parts.Length; i++)
        {
            int table = IsNested ? sum + 256 * tables.FindIndex(other => other.AsSpan().SequenceEqual(own[i].Map)) : 0;
            parts[i] = new(columns, columns += matrices[i].Outputs, magnitudes, table, IsNested ? own[i].Offset : 0);
            magnitudes += IsNested ? own[i].Scales.Length : 0;
        }
        int panels = Gemm.Panels(columns), width = Gemm.PanelWidth;
        if (!IsNested)
        {
            scales = device.Empty([panels, groups, width]);
            plain = CpuDevice.Floats(scales);
            Fill(device, panels, (part, block) => matrices[part].Scales[block], plain);
            return;
        }
        scales = device.Empty([panels, groups, width / sizeof(int)], DType.Int32);
        codes = (byte*)CpuDevice.Ints(scales);
        Fill(device, panels, (part, block) => own[part].Codes[block], codes);
        nested = device.From([.. own.SelectMany(part => part.Scales), .. tables.SelectMany(table => table)], [sum + 256 * tables.Count]);
        values = CpuDevice.Floats(nested);
    }

    /// <summary>Whether magnitudes are kept in 8 bits.</summary>
    public bool IsNested { get; }

    public long Bytes => scales.Bytes + (nested?.Bytes ?? 0);

    /// <summary>The first step after <paramref name="step"/> at which some column begins another block.</summary>
    public int EndOfGroup(int step) => ((step >> shift) + 1) << shift;

    /// <summary>The magnitudes of a panel's columns at a step. Zeros for columns that there are not.</summary>
    /// <param name="panel">The panel.</param>
    /// <param name="step">The step.</param>
    /// <param name="own">Memory for them, where they do not lie together.</param>
    public float* Of(int panel, int step, float* own)
    {
        int width = Gemm.PanelWidth;
        long at = ((long)panel * groups + (step >> shift)) * width;
        if (plain != null) return plain + at;
        new Span<float>(own, width).Clear();
        int first = panel * width;
        foreach (Part part in parts)
        {
            int from = Math.Max(first, part.Start), end = Math.Min(first + width, part.End);
            if (from >= end) continue;
            long value = (long)(from - part.Start) * rows + step;
            byte* some = codes + at + from - first;
            Restore(some, values + part.Magnitudes, values + part.Table, part.Offset, value, rows, end - from, own + from - first);
        }
        return own;
    }

    /// <summary>The magnitudes of a panel's columns at each of some steps. each: (width, width), a row for a column.</summary>
    public float* Each(int panel, int step, int steps, float* each)
    {
        int width = Gemm.PanelWidth;
        float* own = stackalloc float[width];
        for (int p = 0; p < width; p++)
        {
            float* scale = p < steps ? Of(panel, step + p, own) : own;
            for (int c = 0; c < width; c++) each[c * width + p] = p < steps ? scale[c] : 0;
        }
        return each;
    }

    public void Dispose()
    {
        scales.Dispose();
        nested?.Dispose();
    }

    // As NestedScales.Scale, for values that are a row apart.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Restore(byte* codes, float* magnitudes, float* table, float offset, long value, int rows, int count, float* to)
    {
        for (int c = 0; c < count; c++, value += rows) to[c] = table[codes[c]] * magnitudes[value >> NestedShift] + offset;
    }

    // What there is of each block, by its part and its number in it, where panels read it.
    private void Fill<T>(CpuDevice device, int panels, Func<int, int, T> of, T* to) where T : unmanaged =>
        device.Team.For(panels, 1, (start, end) =>
        {
            int width = Gemm.PanelWidth;
            for (int panel = start; panel < end; panel++)
                for (int g = 0; g < groups; g++)
                    FillGroup(panel * width, g << shift, of, to + ((long)panel * groups + g) * width);
        });

    private void FillGroup<T>(int column, int step, Func<int, int, T> of, T* to) where T : unmanaged
    {
        int part = 0;
        for (int c = 0; c < Gemm.PanelWidth; c++)
        {
            while (part < parts.Length && column + c >= parts[part].End) part++;
            long value = part == parts.Length ? 0 : (long)(column + c - parts[part].Start) * rows + step;
            to[c] = part == parts.Length ? default : of(part, (int)(value / QuantizedMatrix.BlockSize));
        }
    }

    // Columns that were quantized by themselves, and where the magnitudes of their magnitudes and the table of their codes begin.
    private sealed record Part(int Start, int End, int Magnitudes, int Table, float Offset);
}
