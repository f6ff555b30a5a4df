using Nola.Tensors;

namespace Nola.Tests;

/// <summary>Every operation in double precision, written for reading, not for speed: what the fast ones are proved against.</summary>
internal static class Reference
{
    /// <summary>c (m, n) = a (m, k) · b (k, n).</summary>
    public static double[] MatMul(double[] a, double[] b, int m, int k, int n)
    {
        double[] c = new double[m * n];
        for (int i = 0; i < m; i++)
            for (int p = 0; p < k; p++)
                for (int j = 0; j < n; j++)
                    c[i * n + j] += a[i * k + p] * b[p * n + j];
        return c;
    }

    public static double[] Transpose(double[] a, int rows, int columns)
    {
        double[] t = new double[a.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                t[j * rows + i] = a[i * columns + j];
        return t;
    }

    public static double[] AddRow(double[] x, double[] bias) => [.. x.Select((v, i) => v + bias[i % bias.Length])];

    public static double[] Add(double[] a, double[] b) => [.. a.Zip(b, (x, y) => x + y)];

    public static double Gelu(double x) => 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));

    public static double GeluErf(double x) => 0.5 * x * (1 + Erf(x / Math.Sqrt(2)));

    /// <summary>erf by its series, and by its continued fraction where that converges faster.</summary>
    public static double Erf(double x)
    {
        double z = Math.Abs(x), sum = z, term = z;
        if (z > 3)
        {
            double fraction = z;
            for (int n = 60; n > 0; n--) fraction = z + n / 2.0 / fraction;
            return Math.Sign(x) * (1 - Math.Exp(-z * z) / Math.Sqrt(Math.PI) / fraction);
        }
        for (int n = 1; n < 100; n++) sum += (term *= -z * z / n) / (2 * n + 1);
        return Math.Sign(x) * 2 / Math.Sqrt(Math.PI) * sum;
    }

    public static double[] LayerNorm(double[] x, double[] weight, double[] bias, double epsilon)
    {
        int c = weight.Length;
        double[] y = new double[x.Length];
        for (int i = 0; i < x.Length; i += c)
        {
            double[] row = x[i..(i + c)];
            double mean = row.Average(), variance = row.Average(v => (v - mean) * (v - mean));
            for (int j = 0; j < c; j++) y[i + j] = (row[j] - mean) / Math.Sqrt(variance + epsilon) * weight[j] + bias[j];
        }
        return y;
    }

    /// <summary>Rows gate | up of 2 · half columns → silu(gate) · up.</summary>
    public static double[] SiluMultiply(double[] gateUp, int half) =>
        [.. Enumerable.Range(0, gateUp.Length / 2).Select(i =>
        {
            int at = i / half * 2 * half + i % half;
            return gateUp[at] / (1 + Math.Exp(-gateUp[at])) * gateUp[at + half];
        })];

    public static double[] RmsNorm(double[] x, double[] weight, double epsilon)
    {
        int c = weight.Length;
        double[] y = new double[x.Length];
        for (int i = 0; i < x.Length; i += c)
        {
            double[] row = x[i..(i + c)];
            double squares = row.Average(v => v * v);
            for (int j = 0; j < c; j++) y[i + j] = row[j] / Math.Sqrt(squares + epsilon) * weight[j];
        }
        return y;
    }

    /// <summary>qkv (N, (H + 2G)·D) with q's and k's heads normalized, each by itself.</summary>
    public static double[] RmsNormHeads(double[] qkv, double[] query, double[] key, AttentionLayout layout, double epsilon)
    {
        int d = layout.HeadSize, perRow = layout.Width / d;
        return [.. Enumerable.Range(0, qkv.Length / d).SelectMany(i =>
        {
            double[] head = qkv[(i * d)..((i + 1) * d)];
            return i % perRow < layout.Heads ? RmsNorm(head, query, epsilon)
                : i % perRow < layout.Heads + layout.KeyValueHeads ? RmsNorm(head, key, epsilon) : head;
        })];
    }

    /// <summary>qkv (N, (H + 2G)·D) with the pairs j and j + D/2 of q's and k's heads turned by position · inverse[j].</summary>
    public static double[] Rotary(double[] qkv, int[] positions, RotaryFrequencies frequencies, AttentionLayout layout)
    {
        int d = layout.HeadSize, half = d / 2;
        double[] y = [.. qkv];
        for (int n = 0; n < positions.Length; n++)
            for (int head = 0; head < layout.Heads + layout.KeyValueHeads; head++)
                for (int j = 0; j < half; j++)
                {
                    double angle = positions[n] * frequencies.Inverse[j], scale = frequencies.AttentionScaling;
                    int a = n * layout.Width + head * d + j, b = a + half;
                    y[a] = scale * (Math.Cos(angle) * qkv[a] - Math.Sin(angle) * qkv[b]);
                    y[b] = scale * (Math.Cos(angle) * qkv[b] + Math.Sin(angle) * qkv[a]);
                }
        return y;
    }

    /// <summary>qkv (N, (H + 2G)·D) → (N, H·D), within each sequence.</summary>
    public static double[] Attention(double[] qkv, int[] starts, AttentionLayout layout)
    {
        int h = layout.Heads, g = layout.KeyValueHeads, d = layout.HeadSize, width = (h + 2 * g) * d;
        double[] y = new double[qkv.Length / width * h * d];
        for (int s = 0; s + 1 < starts.Length; s++)
            for (int head = 0; head < h; head++)
                for (int i = starts[s]; i < starts[s + 1]; i++)
                {
                    int q = i * width + head * d, k = (h + head / (h / g)) * d, v = k + g * d;
                    int[] seen = [.. Enumerable.Range(starts[s], starts[s + 1] - starts[s]).Where(j => Sees(layout, i, j))];
                    double[] score = [.. seen.Select(j => Dot(qkv, q, j * width + k, d) / Math.Sqrt(d))];
                    double max = score.Max(), sum = score.Sum(z => Math.Exp(z - max));
                    for (int n = 0; n < seen.Length; n++)
                    {
                        double p = Math.Exp(score[n] - max) / sum;
                        for (int t = 0; t < d; t++) y[(i * h + head) * d + t] += p * qkv[seen[n] * width + v + t];
                    }
                }
        return y;
    }

    /// <summary>Whether the token at position i of a sequence sees the one at j.</summary>
    public static bool Sees(AttentionLayout layout, int i, int j) =>
        !layout.Causal || (j <= i && (layout.Window == 0 || i - j < layout.Window));

    private static double Dot(double[] x, int a, int b, int count)
    {
        double sum = 0;
        for (int t = 0; t < count; t++) sum += x[a + t] * x[b + t];
        return sum;
    }

    /// <summary>Per-row losses of logits (P, V).</summary>
    public static double[] CrossEntropy(double[] logits, int[] targets, int v, double smoothing) =>
        [.. targets.Select((target, p) =>
        {
            double[] row = logits[(p * v)..((p + 1) * v)];
            double max = row.Max(), lse = max + Math.Log(row.Sum(z => Math.Exp(z - max)));
            return (1 - smoothing) * (lse - row[target]) + smoothing * (lse - row.Average());
        })];

    public static double[] GatherRows(double[] table, int[] indices, int c) => [.. indices.SelectMany(i => table[(i * c)..((i + 1) * c)])];

    /// <summary>W[l] = scale · Σ coefficients[l, i] · Bᵢ, for L rows of coefficients.</summary>
    public static double[] BasisMix(double[] coefficients, int rows, RandomBasis basis, double scale, int[]? layers = null)
    {
        double[] w = new double[rows * basis.Size];
        for (int l = 0; l < rows; l++)
        {
            RandomBasis own = layers is null ? basis : basis with { Layer = (uint)layers[l] + 1 };
            for (int i = 0; i < basis.Count; i++)
                for (int e = 0; e < basis.Size; e++)
                    w[l * basis.Size + e] += scale * coefficients[l * basis.Count + i] * own.Entry((uint)i, e);
        }
        return w;
    }
}
