namespace Nola.Tensors;

public abstract partial class Device
{
    /// <summary>
    /// y[n] = log Σⱼ exp(logits[n, j]): what turns logits into log-probabilities. −∞ for a row of −∞. logits: (N, V); y: (N).
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void LogSumExp(Tensor logits, Tensor y)
    {
        if (y.Length != logits.Shape.Rows)
            throw new ShapeException($"LogSumExp: logits are {logits.Shape} and y {y.Shape}; expected (N, V) and (N).");
        LogSumExpCore(logits, y);
    }

    /// <summary>
    /// The k largest elements of each row, the largest first; of equal ones the one with the lower index first. Where a row
    /// has fewer than k elements above −∞, the rest is −∞ with index −1. Which are found beside elements that are not numbers is not
    /// defined. x: (N, V); values: (N, k); indices: (N, k) int32.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void TopK(Tensor x, Tensor values, Tensor indices)
    {
        int k = values.Shape.Columns;
        if (values.Shape != indices.Shape || values.Shape.Rows != x.Shape.Rows || k < 1 || k > x.Shape.Columns)
            throw new ShapeException(
                $"TopK: x is {x.Shape}, values {values.Shape}, indices {indices.Shape}; expected (N, V), (N, k) twice and k at most V.");
        TopKCore(x, values, indices);
    }

    /// <summary>
    /// Rules out tokens: logits[n, id] = −∞ for row n's ids. logits: (N, V); starts: (N + 1) int32; ids: int32, row n's from
    /// starts[n] on.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void Ban(Tensor logits, Tensor starts, Tensor ids)
    {
        CheckTokenLists(nameof(Ban), logits, starts);
        BanCore(logits, starts, ids);
    }

    /// <summary>
    /// Repetition penalty (Keskar et al. 2019, CTRL): with d = logits[n, id] − from[n], d becomes d · penalty when it is
    /// negative, else d / penalty, for row n's ids, of which none stands twice. Without <paramref name="from"/> it is the
    /// logit itself; with the row's <see cref="LogSumExp"/> it is the log-probability. Lists as in <see cref="Ban"/>.
    /// </summary>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public void Penalize(Tensor logits, Tensor starts, Tensor ids, float penalty, Tensor? from = null)
    {
        CheckTokenLists(nameof(Penalize), logits, starts);
        if (from is not null && from.Length != logits.Shape.Rows)
            throw new ShapeException($"Penalize: logits are {logits.Shape} and from {from.Shape}; expected (N, V) and (N).");
        PenalizeCore(logits, starts, ids, penalty, from);
    }

    private protected abstract void LogSumExpCore(Tensor logits, Tensor y);

    private protected abstract void TopKCore(Tensor x, Tensor values, Tensor indices);

    private protected abstract void BanCore(Tensor logits, Tensor starts, Tensor ids);

    private protected abstract void PenalizeCore(Tensor logits, Tensor starts, Tensor ids, float penalty, Tensor? from);

    private static void CheckTokenLists(string call, Tensor logits, Tensor starts)
    {
        if (starts.Length != logits.Shape.Rows + 1)
            throw new ShapeException($"{call}: logits are {logits.Shape} and starts {starts.Shape}; expected (N, V) and (N + 1).");
    }
}
