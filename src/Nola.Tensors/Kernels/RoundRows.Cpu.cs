namespace Nola.Tensors;

public sealed unsafe partial class CpuDevice
{
    private protected override void RoundRowsCore(Tensor x, int levels, Tensor y)
    {
        float* from = Floats(x), to = Floats(y);
        int columns = x.Shape.Columns;
        team.For(x.Shape.Rows, 1, (start, end) =>
        {
            for (long i = start; i < end; i++)
                SymmetricRounding.Round(new(from + i * columns, columns), levels, new(to + i * columns, columns));
        });
    }
}
