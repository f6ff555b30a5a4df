using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>What every device must do with low-rank products of few rows.</summary>
public abstract class LowRankRowsContract(Device device)
{
    protected Device Device => device;

    [Contract(60)]
    public void Terms_add_what_two_products_add_each_to_its_rows_bit_for_bit(int seed)
    {
        Random r = new(seed);
        int most = r.Next(3) == 0 ? 25 : 3, rows = 1 + r.Next(3 * most), outputs = 1 + r.Next(ContractRuns.Sizes(120));
        // Products of many steps are summed in blocks.
        int inputs = 1 + r.Next(ContractRuns.Sizes(r.Next(4) == 0 ? 2600 : 90));
        List<Tensor> factors = [];
        List<LowRankTerm> terms = [];
        for (int first = 0, count; first < rows; first += count)
        {
            count = Math.Min(1 + r.Next(most), rows - first);
            // None, one, or several of the same rows, which may write the same columns.
            for (int t = r.Next(3); t > 0; t--)
            {
                int rank = 1 + r.Next(r.Next(5) == 0 ? 40 : 18), columns = 1 + r.Next(outputs);
                int layers = 1 + r.Next(2), layer = r.Next(layers);
                factors.Add(device.From(OpCheck.Values(r, layers * inputs * rank, 1), [layers, inputs, rank]));
                factors.Add(device.From(OpCheck.Values(r, layers * rank * columns, 1), [layers, rank, columns]));
                terms.Add(new(
                    first, count, new(factors[^2], inputs, rank, layer * inputs * rank, rank),
                    new(factors[^1], rank, columns, layer * rank * columns, columns), 0.3f + r.Next(3), r.Next(outputs - columns + 1)));
            }
        }
        float[] start = OpCheck.Values(r, rows * outputs, 1);
        using Tensor x = device.From(OpCheck.Values(r, rows * inputs, 1), [rows, inputs]);
        using Tensor y = device.From(start, [rows, outputs]), wanted = device.From(start, [rows, outputs]);
        device.AddLowRank(x, y, terms);
        foreach (LowRankTerm t in terms)
        {
            using Tensor u = device.Empty([t.Count, t.A.Columns]);
            device.MatMul(((Matrix)x).SliceRows(t.First, t.Count), false, t.A, false, u);
            Matrix to = ((Matrix)wanted).SliceRows(t.First, t.Count).SliceColumns(t.Column, t.B.Columns);
            device.MatMul(u, false, t.B, false, to, t.Scale, 1);
        }
        Assert.Equal(wanted.ToArray(), y.ToArray());
        foreach (Tensor factor in factors) factor.Dispose();
    }

    [Fact]
    public void A_term_outside_the_batch_is_refused()
    {
        using Tensor x = device.Zeros([2, 3]), y = device.Zeros([2, 4]), a = device.Zeros([3, 1]), b = device.Zeros([1, 4]);
        device.AddLowRank(x, y, []);
        LowRankTerm fits = new(0, 2, a, b, 1, 0);
        foreach (LowRankTerm term in (LowRankTerm[])
            [fits with { First = 1 }, fits with { Column = 1 }, fits with { A = b }, fits with { Count = -1 }])
            Assert.Contains("AddLowRank", Assert.Throws<ShapeException>(() => device.AddLowRank(x, y, [term])).Message);
    }
}
