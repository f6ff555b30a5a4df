namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void AddLowRankCore(Matrix x, Matrix y, IReadOnlyList<LowRankTerm> terms) =>
        AddLowRankByProducts(x, y, terms);
}
