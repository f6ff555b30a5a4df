using FsCheck.Xunit;
using Nola.Models;
using Xunit;

namespace Nola.Tests;

/// <summary>The largest singular values, against LAPACK's of NumPy and against Jacobi's method.</summary>
public sealed class TruncatedSvdTests
{
    [Fact]
    public void Singular_values_are_LAPACKs()
    {
        // numpy.linalg.svd of float32(sin(3 i + (i + 1) (j + 2) / 5)), i < 14, j < 9.
        double[] expected =
        [
            2.892265754929918, 2.803997574053037, 2.802502249887178, 2.802490224787011, 2.802306926580015, 2.7909746302877156,
            2.789475002888614, 2.642449638577303, 1.6562100661771872,
        ];
        double[] first =
        [
            0.4995086148776597, 0.6337833024199222, 0.3311242918624995, 0.35433043116523477, 0.21546089717662736,
            0.1968517110133618, 0.13165205874682795, 0.08378606610990662, 0.0639543144597594,
        ];
        float[] w = [.. Enumerable.Range(0, 14 * 9).Select(at => (float)Math.Sin(3 * (at / 9) + (at / 9 + 1) * (at % 9 + 2) / 5.0))];
        (float[] left, float[] right) = TruncatedSvd.Of(w, 14, 9, 9);
        Assert.All(expected.Zip(Lengths(left, 14, 9)), pair => Assert.Equal(pair.First, pair.Second, 2e-6));
        Assert.All(first.Zip(right), pair => Assert.Equal(pair.First, pair.Second, 2e-6));
    }

    [Property(MaxTest = 40)]
    public void They_are_those_of_Jacobis_method_and_the_factors_are_the_best_of_their_rank(int seed)
    {
        Random r = new(seed);
        int rows = 1 + r.Next(60), columns = 1 + r.Next(60), rank = 1 + r.Next(Math.Min(rows, columns));
        float[] w = Matrix(r, rows, columns);
        double[] all = Jacobi(w, rows, columns);
        (float[] left, float[] right) = TruncatedSvd.Of(w, rows, columns, rank);
        double[] values = Lengths(left, rows, rank);
        for (int j = 0; j < rank; j++)
        {
            // Squares are found to double precision of the largest one.
            Assert.InRange(values[j], all[j] - 1e-5 * all[0] - 1e-12, all[j] + 1e-5 * all[0] + 1e-12);
            for (int i = 0; i <= j; i++)
            {
                double product = Enumerable.Range(0, columns).Sum(o => (double)right[i * columns + o] * right[j * columns + o]);
                Assert.Equal(i == j ? 1 : 0, product, 1e-5);
            }
        }
        double missed = 0;
        for (int i = 0; i < rows; i++)
            for (int o = 0; o < columns; o++)
            {
                double product = Enumerable.Range(0, rank).Sum(j => (double)left[i * rank + j] * right[j * columns + o]);
                missed += Math.Pow(w[i * columns + o] - product, 2);
            }
        double least = all.Skip(rank).Sum(value => value * value), whole = all.Sum(value => value * value);
        Assert.InRange(missed, least - 1e-5 * whole - 1e-12, least + 1e-5 * whole + 1e-12);
    }

    [Fact]
    public void Nothing_one_direction_and_equal_values_have_factors_too()
    {
        float[] zero = new float[12], identity = [.. Enumerable.Range(0, 16).Select(i => i % 5 == 0 ? 1f : 0)];
        float[] one = [.. Enumerable.Range(0, 12).Select(i => (float)(1 + i / 4) * (i % 4 - 1))];
        Assert.All(TruncatedSvd.Of(zero, 3, 4, 3).Left, value => Assert.Equal(0, value));
        Assert.All(Lengths(TruncatedSvd.Of(identity, 4, 4, 4).Left, 4, 4), value => Assert.Equal(1, value, 1e-6));
        double[] values = Lengths(TruncatedSvd.Of(one, 3, 4, 3).Left, 3, 3);
        Assert.Equal(Math.Sqrt(one.Sum(value => value * value)), values[0], 1e-5);
        Assert.Equal(0, values[1], 1e-5);
    }

    // Random, of falling values, of low rank, or with columns that are nothing.
    private static float[] Matrix(Random r, int rows, int columns)
    {
        float[] w = OpCheck.Values(r, rows * columns, 1);
        int kind = r.Next(4);
        for (int at = 0; at < w.Length; at++)
        {
            if (kind == 1) w[at] *= MathF.Pow(0.7f, at % columns);
            if (kind == 2) w[at] = w[at / columns * columns] * w[at % columns];
            if (kind == 3 && at % columns % 3 == 0) w[at] = 0;
        }
        return w;
    }

    private static double[] Lengths(float[] left, int rows, int rank) =>
        [.. Enumerable.Range(0, rank).Select(j => Math.Sqrt(Enumerable.Range(0, rows).Sum(i => Math.Pow(left[i * rank + j], 2))))];

    // One-sided: columns are turned in pairs until all are at right angles; their lengths are the values.
    private static double[] Jacobi(float[] w, int rows, int columns)
    {
        double[][] all =
            [.. Enumerable.Range(0, columns).Select(o => Enumerable.Range(0, rows).Select(i => (double)w[i * columns + o]).ToArray())];
        for (int sweep = 0; sweep < 60; sweep++)
            for (int p = 0; p < columns; p++)
                for (int q = p + 1; q < columns; q++) Turn(all[p], all[q]);
        return [.. all.Select(column => Math.Sqrt(column.Sum(value => value * value))).OrderDescending()];
    }

    private static void Turn(double[] p, double[] q)
    {
        double a = p.Sum(value => value * value), b = q.Sum(value => value * value), c = p.Zip(q, (x, y) => x * y).Sum();
        if (c * c <= 1e-30 * a * b || c == 0) return;
        double zeta = (b - a) / (2 * c), t = (zeta >= 0 ? 1 : -1) / (Math.Abs(zeta) + Math.Sqrt(1 + zeta * zeta));
        double cosine = 1 / Math.Sqrt(1 + t * t), sine = cosine * t;
        for (int i = 0; i < p.Length; i++) (p[i], q[i]) = (cosine * p[i] - sine * q[i], sine * p[i] + cosine * q[i]);
    }
}
