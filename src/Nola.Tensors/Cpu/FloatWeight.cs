namespace Nola.Tensors;

/// <summary>
/// A weight as float32. The panels of dy·Wᵀ are a second copy, made when they are first asked for, unless memory counts more than
/// the few hundredths of the time that making them again and again takes.
/// </summary>
/// <param name="device">Where it is.</param>
/// <param name="panels">W. (panels, rows, width)</param>
/// <param name="rows">in.</param>
/// <param name="columns">out.</param>
/// <param name="compact">Whether there is never a second copy.</param>
internal sealed unsafe class FloatWeight(CpuDevice device, Tensor panels, int rows, int columns, bool compact) : PackedWeight(rows, columns)
{
    private Tensor? across;

    public override WeightFormat Format => WeightFormat.Float32;

    public override long Bytes => panels.Bytes + (across?.Bytes ?? 0);

    public override Panels Forward => Elements;

    public override Panels Backward => compact ? base.Backward : CpuDevice.Floats(across ??= Across());

    public override void Make(int panel, int step, int steps, float* to)
    {
        float* from = Elements + ((long)panel * Rows + step) * Gemm.PanelWidth;
        new ReadOnlySpan<float>(from, steps * Gemm.PanelWidth).CopyTo(new Span<float>(to, steps * Gemm.PanelWidth));
    }

    public override void MakeTransposed(int panel, int step, int steps, float* to) =>
        Gemm.TransposePanel(Elements, Rows, Columns, panel, step, steps, to);

    public override void Row(int panel, int panels, int step, int steps, float* x, nint stride, float* sums)
    {
        int width = Gemm.PanelWidth;
        for (int i = 0; i < panels; i++, sums += width)
            Gemm.Block(1, width, steps, new(x, 0, stride), Elements + ((long)(panel + i) * Rows + step) * width, 0, sums, width);
    }

    public override void Column(int o, float* to)
    {
        int width = Gemm.PanelWidth;
        float* from = Elements + (long)(o / width) * Rows * width + o % width;
        if (across is null)
        {
            for (int i = 0; i < Rows; i++) to[i] = from[(long)i * width];
            return;
        }
        for (int i = 0; i < Rows; i += width)
        {
            float* part = CpuDevice.Floats(across) + ((long)(i / width) * Columns + o) * width;
            new ReadOnlySpan<float>(part, Math.Min(width, Rows - i)).CopyTo(new Span<float>(to + i, width));
        }
    }

    public override void Dispose()
    {
        panels.Dispose();
        across?.Dispose();
    }

    private float* Elements => CpuDevice.Floats(panels);

    private Tensor Across()
    {
        Tensor packed = device.Empty([Gemm.Panels(Rows), Columns, Gemm.PanelWidth]);
        float* from = Elements, to = CpuDevice.Floats(packed);
        device.Team.For(Gemm.Panels(Rows), 1, (first, last) =>
        {
            for (int panel = first; panel < last; panel++)
                Gemm.TransposePanel(from, Rows, Columns, panel, 0, Columns, to + (long)panel * Columns * Gemm.PanelWidth);
        });
        return packed;
    }
}
