namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void RoundRowsCore(Tensor x, int levels, Tensor y)
    {
        float* from = Floats(x), to = Floats(y);
        int columns = x.Shape.Columns;
        team.For(x.Shape.Rows, 1, (start, end) =>
        {
            for (int i = start; i < end; i++)
            {
                ReadOnlySpan<float> row = new(from + (long)i * columns, columns);
                float step = SymmetricRounding.Step(row, levels);
                float* rounded = to + (long)i * columns;
                for (int j = 0; j < columns; j++) rounded[j] = step * SymmetricRounding.Code(row[j], step, levels);
            }
        });
    }
}
