using Nola.Tensors;

namespace Nola.Autograd;

public static partial class Ops
{
    /// <summary>
    /// The same few rows before each group of rows, as the class token stands before the patches of each image:
    /// y[s] = prefix₀, prefix₁ …, rows of group s. x: (S · P, C), prefixes: (…, C) of one row each, y: (S · (k + P), C).
    /// dx is dy without its prefixes; dprefix = Σ of its rows.
    /// </summary>
    /// <param name="x">The rows of all groups.</param>
    /// <param name="groups">S.</param>
    /// <param name="prefixes">What stands before each group, k rows.</param>
    /// <exception cref="ShapeException">The sizes do not fit.</exception>
    public static Variable WithPrefix(Variable x, int groups, params Variable[] prefixes)
    {
        (int c, int k) = (x.Shape.Columns, prefixes.Length);
        if (groups < 1 || x.Shape.Rows % groups != 0 || Array.Exists(prefixes, prefix => prefix.Value.Length != c))
            throw new ShapeException(
                $"WithPrefix: x is {x.Shape}, in {groups} groups, with prefixes {string.Join(", ", prefixes.Select(p => p.Shape))}; "
                + "expected (S · P, C) and rows of C.");
        Tape tape = x.Tape;
        Device device = tape.Device;
        int own = x.Shape.Rows / groups * c, width = k * c + own;
        Variable y = tape.New([groups * width / c, c]);
        Matrix all = Grouped(y.Value, groups, width);
        device.CopyColumns(Grouped(x.Value, groups, own), all.SliceColumns(k * c, own));
        using Tensor first = device.From(new int[groups]), rows = device.Empty([groups, c]);
        for (int i = 0; i < k; i++)
        {
            device.GatherRows(prefixes[i].Value, first, rows);
            device.CopyColumns(rows, all.SliceColumns(i * c, c));
        }
        return tape.Record(y, [x, .. prefixes], [], [], dy =>
        {
            Matrix gradient = Grouped(dy, groups, width);
            if (x.TakesGradient(out Tensor dx, out float beta))
            {
                using Tensor part = device.Empty(x.Shape);
                device.CopyColumns(gradient.SliceColumns(k * c, own), Grouped(part, groups, own));
                device.Axpby(1, part, beta, dx);
            }
            for (int i = 0; i < k; i++)
            {
                if (!prefixes[i].TakesGradient(out Tensor dprefix, out float betaPrefix)) continue;
                using Tensor part = device.Empty([groups, c]);
                device.CopyColumns(gradient.SliceColumns(i * c, c), part);
                device.ColumnSums(part, dprefix, betaPrefix);
            }
        });
    }

    // The rows of each group side by side in one.
    private static Matrix Grouped(Tensor rows, int groups, int width) => new(rows, groups, width, 0, width);
}
