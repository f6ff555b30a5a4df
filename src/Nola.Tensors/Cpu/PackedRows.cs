namespace Nola.Tensors;

/// <summary>
/// Packs a weight whose columns come one after the other, as the rows of (out, in) in a file, so that it never exists twice.
/// </summary>
internal sealed unsafe class PackedRows : FrozenRows
{
    // Whole panels that are packed at a time: enough for the threads of a team to share.
    private const int MostPanels = 16;

    private readonly CpuDevice device;
    private readonly int rows, columns;
    private readonly WeightFormat format;
    private readonly bool compact;
    private readonly Tensor panels;
    private readonly float[] pending;
    private int kept, packed;
    private bool finished;

    public PackedRows(CpuDevice device, int rows, int columns, WeightFormat format, bool compact)
    {
        (this.device, this.rows, this.columns, this.format, this.compact) = (device, rows, columns, format, compact);
        panels = device.Empty([Gemm.Panels(columns), rows, Gemm.PanelWidth], format.ElementType());
        pending = new float[(long)Math.Min(columns, MostPanels * Gemm.PanelWidth) * rows];
    }

    public override void Add(ReadOnlySpan<float> values)
    {
        while (values.Length > 0)
        {
            int some = Math.Min(values.Length, pending.Length - kept);
            values[..some].CopyTo(pending.AsSpan(kept));
            kept += some;
            values = values[some..];
            if (kept == pending.Length) Pack();
        }
    }

    public override FrozenMatrix Finish()
    {
        if (kept > 0) Pack();
        if (packed != columns) throw new ShapeException($"Freeze: {packed} of {columns} rows came.");
        finished = true;
        return device.Packed(format == WeightFormat.Float32
            ? new FloatWeight(device, panels, rows, columns, compact)
            : PackedWeights.Halves(panels, rows, columns));
    }

    public override void Dispose()
    {
        if (!finished) panels.Dispose();
    }

    private void Pack()
    {
        int some = kept / rows, width = Gemm.PanelWidth, first = packed / width;
        if (packed + some > columns || some * rows != kept)
            throw new ShapeException($"Freeze: more than {columns} rows of {rows} came, or a part of one.");
        fixed (float* from = pending)
        {
            nint source = (nint)from;
            device.Team.For(Gemm.Panels(some), 1, (start, end) =>
            {
                for (int i = start; i < end; i++)
                    Pack((float*)source + (long)i * width * rows, first + i, Math.Min(width, some - i * width));
            });
        }
        (packed, kept) = (packed + some, 0);
    }

    private void Pack(float* from, int panel, int count)
    {
        long length = (long)rows * Gemm.PanelWidth;
        if (format == WeightFormat.Float32)
        {
            Gemm.Pack(from, 1, rows, rows, count, CpuDevice.Floats(panels) + panel * length);
            return;
        }
        float* wide = Scratch.Floats(length);
        ushort* to = CpuDevice.Halves(panels) + panel * length;
        Gemm.Pack(from, 1, rows, rows, count, wide);
        for (long i = 0; i < length; i++) to[i] = DTypes.ToBFloat16(wide[i]);
    }
}
