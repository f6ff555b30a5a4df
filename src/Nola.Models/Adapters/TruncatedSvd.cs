using System.Runtime.Intrinsics;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The best approximation of a matrix by one of low rank, W ≈ (U · S) · Vᵀ: the largest singular values with their vectors, by Lanczos'
/// method on Wᵀ · W with full reorthogonalization, in double precision. Every sum has one order, whatever the processor, and nothing is
/// contracted to fused operations, so that any machine gets the same bits of the same weight.
/// </summary>
internal static class TruncatedSvd
{
    /// <summary>Name and version of the method; it stands in files whose bases come from it.</summary>
    public const string Id = "lanczos/1";

    // What is left of a squared singular value's vector, of the largest one.
    private const double Tolerance = 1e-10;

    // Below this a new direction is rounding alone.
    private const double Nothing = 1e-13;

    /// <summary>The factors of a matrix.</summary>
    /// <param name="w">W, row-major. (rows, columns)</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="columns">Number of columns.</param>
    /// <param name="rank">r, at most the shorter side.</param>
    /// <returns>U · S (rows, r) and Vᵀ (r, columns), whose rows have length 1, by falling singular values.</returns>
    public static (float[] Left, float[] Right) Of(float[] w, int rows, int columns, int rank)
    {
        List<double[]> basis = [];
        List<double> diagonal = [], beside = [];
        double[][] ritz = [];
        double[] next = Normalized(Start(0, columns)), image = new double[columns];
        int check = Math.Min(columns, 2 * rank + 20);
        while (ritz.Length == 0)
        {
            basis.Add(next);
            Square(w, rows, columns, next, image);
            diagonal.Add(Dot(next, image));
            double length = Orthogonalize(image, basis), largest = diagonal.Max();
            bool ends = length <= Nothing * largest || basis.Count == columns;
            if (basis.Count == check || basis.Count == columns)
            {
                (double[] values, double[][] vectors) = Tridiagonal.Eigen([.. diagonal], [.. beside]);
                int[] order = [.. Enumerable.Range(0, values.Length).OrderByDescending(i => values[i]).Take(rank)];
                double left = ends ? 0 : order.Max(i => Math.Abs(length * vectors[i][^1]));
                if (left <= Tolerance * values[order[0]]) ritz = [.. order.Select(i => vectors[i])];
                check = Math.Min(columns, check + check / 2);
            }
            beside.Add(ends ? 0 : length);
            next = ends ? Another(basis, columns) : Scaled(image, 1 / length);
        }
        float[] leftFactor = new float[rows * rank], right = new float[rank * columns];
        for (int j = 0; j < rank; j++) Write(w, rows, columns, Combined(basis, ritz[j], columns), leftFactor, right, j, rank);
        return (leftFactor, right);
    }

    // One pair of columns: v is turned so that its largest entry is above zero.
    private static void Write(float[] w, int rows, int columns, double[] v, float[] left, float[] right, int j, int rank)
    {
        double largest = v.MaxBy(Math.Abs);
        if (largest < 0) v = Scaled(v, -1);
        for (int o = 0; o < columns; o++) right[j * columns + o] = (float)v[o];
        for (int i = 0; i < rows; i++) left[i * rank + j] = (float)Dot(w.AsSpan(i * columns, columns), v);
    }

    // y = Wᵀ · (W · v), in one pass over W.
    private static void Square(float[] w, int rows, int columns, double[] v, double[] y)
    {
        Array.Clear(y);
        for (int i = 0; i < rows; i++)
        {
            ReadOnlySpan<float> row = w.AsSpan(i * columns, columns);
            AddScaled(Dot(row, v), row, y);
        }
    }

    // Takes what is along the basis out, twice, so that rounding leaves nothing of it; returns the length of what remains.
    private static double Orthogonalize(double[] y, List<double[]> basis)
    {
        for (int pass = 0; pass < 2; pass++)
            foreach (double[] v in basis)
                AddScaled(-Dot(v, y), v, y);
        return Math.Sqrt(Dot(y, y));
    }

    // A direction beside those that there are; the last one has none, and is used no more.
    private static double[] Another(List<double[]> basis, int columns)
    {
        double[] direction = Start(basis.Count, columns);
        return Orthogonalize(direction, basis) is > 0 and double length ? Scaled(direction, 1 / length) : direction;
    }

    private static double[] Start(int index, int length)
    {
        float[] entries = new float[length];
        new RandomBasis(0, 0, 0, index + 1, 1, length, BasisEntries.Uniform).Fill((uint)index, entries);
        return [.. entries.Select(entry => (double)entry)];
    }

    private static double[] Combined(List<double[]> basis, double[] weights, int length)
    {
        double[] sum = new double[length];
        for (int i = 0; i < weights.Length; i++) AddScaled(weights[i], basis[i], sum);
        return Normalized(sum);
    }

    private static double[] Normalized(double[] v) => Scaled(v, 1 / Math.Sqrt(Dot(v, v)));

    private static double[] Scaled(double[] v, double by) => [.. v.Select(value => value * by)];

    // Eight sums side by side, whatever the width of the processor's vectors; then these and what is left in their order.
    private static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        Vector256<double> low = default, high = default;
        int i = 0;
        for (; i + 8 <= a.Length; i += 8)
        {
            low += Vector256.Create(a[i..]) * Vector256.Create(b[i..]);
            high += Vector256.Create(a[(i + 4)..]) * Vector256.Create(b[(i + 4)..]);
        }
        double sum = Total(low, high);
        for (; i < a.Length; i++) sum += a[i] * b[i];
        return sum;
    }

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<double> b)
    {
        Vector256<double> low = default, high = default;
        int i = 0;
        for (; i + 8 <= a.Length; i += 8)
        {
            (Vector256<double> first, Vector256<double> second) = Vector256.Widen(Vector256.Create(a[i..]));
            low += first * Vector256.Create(b[i..]);
            high += second * Vector256.Create(b[(i + 4)..]);
        }
        double sum = Total(low, high);
        for (; i < a.Length; i++) sum += a[i] * b[i];
        return sum;
    }

    private static double Total(Vector256<double> low, Vector256<double> high)
    {
        Vector256<double> sums = low + high;
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }

    private static void AddScaled(double by, ReadOnlySpan<double> x, Span<double> y)
    {
        Vector256<double> factor = Vector256.Create(by);
        int i = 0;
        for (; i + 4 <= x.Length; i += 4)
            (Vector256.Create<double>(y[i..]) + factor * Vector256.Create(x[i..])).CopyTo(y[i..]);
        for (; i < x.Length; i++) y[i] += by * x[i];
    }

    private static void AddScaled(double by, ReadOnlySpan<float> x, Span<double> y)
    {
        Vector256<double> factor = Vector256.Create(by);
        int i = 0;
        for (; i + 8 <= x.Length; i += 8)
        {
            (Vector256<double> first, Vector256<double> second) = Vector256.Widen(Vector256.Create(x[i..]));
            (Vector256.Create<double>(y[i..]) + factor * first).CopyTo(y[i..]);
            (Vector256.Create<double>(y[(i + 4)..]) + factor * second).CopyTo(y[(i + 4)..]);
        }
        for (; i < x.Length; i++) y[i] += by * x[i];
    }
}

/// <summary>Eigenvalues and vectors of symmetric tridiagonal matrices, by QL steps with implicit shifts (Golub and Van Loan 8.3).</summary>
internal static class Tridiagonal
{
    private const int MostSteps = 200;

    /// <summary>All of them, in no order.</summary>
    /// <param name="diagonal">(n)</param>
    /// <param name="beside">The entries beside the diagonal. (n − 1)</param>
    /// <returns>The values, and a vector for each.</returns>
    public static (double[] Values, double[][] Vectors) Eigen(double[] diagonal, double[] beside)
    {
        int n = diagonal.Length;
        double[] d = [.. diagonal], e = [.. beside[..(n - 1)], 0];
        double[][] z = [.. Enumerable.Range(0, n).Select(i => Unit(n, i))];
        for (int l = 0; l < n; l++)
        {
            for (int steps = 0; ; steps++)
            {
                int m = l;
                while (m < n - 1 && Math.Abs(e[m]) > double.Epsilon && Math.Abs(e[m]) + Weight(d, m) != Weight(d, m)) m++;
                if (m == l) break;
                if (steps == MostSteps) throw new InvalidOperationException("Tridiagonal: the eigenvalues of a matrix were not found.");
                Step(d, e, z, l, m);
            }
        }
        return (d, z);
    }

    private static double Weight(double[] d, int m) => Math.Abs(d[m]) + Math.Abs(d[m + 1]);

    // One QL step on rows l … m, with the shift of the corner's two by two.
    private static void Step(double[] d, double[] e, double[][] z, int l, int m)
    {
        double g = (d[l + 1] - d[l]) / (2 * e[l]), r = Length(g, 1);
        g = d[m] - d[l] + e[l] / (g + (g >= 0 ? r : -r));
        double s = 1, c = 1, p = 0;
        for (int i = m - 1; i >= l; i--)
        {
            double f = s * e[i], b = c * e[i];
            r = Length(f, g);
            e[i + 1] = r;
            if (r == 0)
            {
                d[i + 1] -= p;
                e[m] = 0;
                return;
            }
            (s, c) = (f / r, g / r);
            g = d[i + 1] - p;
            r = (d[i] - g) * s + 2 * c * b;
            p = s * r;
            d[i + 1] = g + p;
            g = c * r - b;
            Rotate(z[i], z[i + 1], s, c);
        }
        d[l] -= p;
        e[l] = g;
        e[m] = 0;
    }

    private static void Rotate(Span<double> x, Span<double> y, double s, double c)
    {
        for (int k = 0; k < x.Length; k++) (x[k], y[k]) = (c * x[k] - s * y[k], s * x[k] + c * y[k]);
    }

    private static double Length(double a, double b) => Math.Sqrt(a * a + b * b);

    private static double[] Unit(int n, int at)
    {
        double[] v = new double[n];
        v[at] = 1;
        return v;
    }
}
