using System.Numerics;

namespace Nola.Tensors;

/// <summary>
/// The magnitudes of blocks of NF4 as panels need them: for the columns of a panel, at some steps. Blocks run along a column of W
/// (a row of the checkpoint's (out, in)); where its length is a multiple of 64, all columns begin new ones at the same steps. Else
/// they do so at multiples of what the length has in common with 64.
/// </summary>
internal sealed unsafe class Nf4Scales : IDisposable
{
    private readonly int rows, group;
    private readonly Tensor? scales;                                              // (panels, groups, width)
    private readonly Part[] parts;

    /// <summary>Takes what it needs of matrices side by side.</summary>
    public Nf4Scales(CpuDevice device, IReadOnlyList<QuantizedMatrix> matrices)
    {
        rows = matrices[0].Inputs;
        group = (int)BigInteger.GreatestCommonDivisor(rows, QuantizedMatrix.BlockSize);
        int columns = 0;
        parts = [.. matrices.Select(matrix => new Part(columns, columns += matrix.Outputs, matrix.Scales, matrix.Nested))];
        IsNested = matrices[0].Nested is not null;
        if (IsNested) return;
        int width = Gemm.PanelWidth, groups = rows / group;
        scales = device.Empty([Gemm.Panels(columns), groups, width]);
        float* to = CpuDevice.Floats(scales);
        device.Team.For(Gemm.Panels(columns), 1, (first, last) =>
        {
            for (int panel = first; panel < last; panel++)
                for (int g = 0; g < groups; g++)
                    Gather(panel, g * group, to + ((long)panel * groups + g) * width);
        });
        parts = [];
    }

    /// <summary>Whether magnitudes are kept in 8 bits.</summary>
    public bool IsNested { get; }

    public long Bytes => scales?.Bytes ?? parts.Sum(part => part.Nested!.Bytes);

    /// <summary>The first step after <paramref name="step"/> at which some column begins another block.</summary>
    public int EndOfGroup(int step) => (step / group + 1) * group;

    /// <summary>The magnitudes of a panel's columns at a step. Zeros for columns that there are not.</summary>
    /// <param name="panel">The panel.</param>
    /// <param name="step">The step.</param>
    /// <param name="own">Memory for them, where they do not lie together.</param>
    public float* Of(int panel, int step, float* own)
    {
        if (scales is not null) return CpuDevice.Floats(scales) + ((long)panel * (rows / group) + step / group) * Gemm.PanelWidth;
        Gather(panel, step, own);
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

    public void Dispose() => scales?.Dispose();

    private void Gather(int panel, int step, float* to)
    {
        int width = Gemm.PanelWidth, part = 0;
        for (int c = 0; c < width; c++)
        {
            int o = panel * width + c;
            while (part < parts.Length && o >= parts[part].End) part++;
            to[c] = part == parts.Length ? 0 : parts[part].Scale(((long)(o - parts[part].Start) * rows + step) / QuantizedMatrix.BlockSize);
        }
    }

    // Columns that were quantized by themselves.
    private sealed record Part(int Start, int End, float[] Scales, NestedScales? Nested)
    {
        public float Scale(long block) => Nested is null ? Scales[block] : Nested.Scale(block);
    }
}
