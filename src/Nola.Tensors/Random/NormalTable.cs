namespace Nola.Tensors;

/// <summary>
/// The standard normal at 16 bits: value(u) = round(4096 · Φ⁻¹((u + ½) / 65536)) / 4096, so every device has the same
/// bits without a logarithm or a cosine. Antisymmetric: value(65535 − u) = −value(u); the largest is 4.325.
/// </summary>
internal static class NormalTable
{
    private static readonly float[] values = Build();

    /// <summary>The table entry of a 16-bit word.</summary>
    public static float Value(ushort u) => values[u];

    /// <summary>All 65,536 entries.</summary>
    internal static ReadOnlySpan<float> Values => values;

    /// <summary>
    /// Φ⁻¹(p) for 0 &lt; p &lt; 1 in double precision: Wichura (1988), Algorithm AS 241, PPND16, relative error about 1e-16.
    /// </summary>
    public static double Quantile(double p)
    {
        double q = p - 0.5;
        if (Math.Abs(q) <= 0.425)
        {
            double s = 0.180625 - q * q;
            return q * Ratio(s,
                [
                    2509.0809287301226727,
                    33430.575583588128105,
                    67265.770927008700853,
                    45921.953931549871457,
                    13731.693765509461125,
                    1971.5909503065514427,
                    133.14166789178437745,
                    3.387132872796366608,
                ],
                [
                    5226.495278852854561,
                    28729.085735721942674,
                    39307.89580009271061,
                    21213.794301586595867,
                    5394.1960214247511077,
                    687.1870074920579083,
                    42.313330701600911252,
                    1,
                ]);
        }
        double r = Math.Sqrt(-Math.Log(q < 0 ? p : 1 - p));
        double x = r <= 5
            ? Ratio(r - 1.6,
                [
                    7.7454501427834140764e-4,
                    0.0227238449892691845833,
                    0.24178072517745061177,
                    1.27045825245236838258,
                    3.64784832476320460504,
                    5.7694972214606914055,
                    4.6303378461565452959,
                    1.42343711074968357734,
                ],
                [
                    1.05075007164441684324e-9,
                    5.475938084995344946e-4,
                    0.0151986665636164571966,
                    0.14810397642748007459,
                    0.68976733498510000455,
                    1.6763848301838038494,
                    2.05319162663775882187,
                    1,
                ])
            : Ratio(r - 5,
                [
                    2.01033439929228813265e-7,
                    2.71155556874348757815e-5,
                    0.0012426609473880784386,
                    0.026532189526576123093,
                    0.29656057182850489123,
                    1.7848265399172913358,
                    5.4637849111641143699,
                    6.6579046435011037772,
                ],
                [
                    2.04426310338993978564e-15,
                    1.4215117583164458887e-7,
                    1.8463183175100546818e-5,
                    7.868691311456132591e-4,
                    0.0148753612908506148525,
                    0.13692988092273580531,
                    0.59983220655588793769,
                    1,
                ]);
        return q < 0 ? -x : x;
    }

    private static float[] Build()
    {
        float[] table = new float[65536];
        for (int u = 32768; u < 65536; u++)
        {
            table[u] = (float)(Math.Round(4096 * Quantile((u + 0.5) / 65536)) / 4096);
            table[65535 - u] = -table[u];
        }
        return table;
    }

    private static double Ratio(double x, ReadOnlySpan<double> numerator, ReadOnlySpan<double> denominator)
    {
        double n = 0, d = 0;
        foreach (double c in numerator) n = n * x + c;
        foreach (double c in denominator) d = d * x + c;
        return n / d;
    }
}
