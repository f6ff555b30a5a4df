using Nola.Autograd;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// One check for every operation: its value against a double-precision reference; its gradient against central
/// differences of that reference; overwriting of a gradient full of NaN (beta 0); and adding to one (beta 1).
/// </summary>
internal static class OpCheck
{
    // Central differences in double with h = 1e-5 err by about 1e-9; what is left is the float32 of the operation itself.
    private const double H = 1e-5;

    public static void Run(
        Device device, Random random, (string Name, Shape Shape, double Spread)[] inputs,
        Func<Tape, Variable[], Variable> operation, Func<double[][], double[]> reference, double tolerance = 2e-5)
    {
        float[][] values = [.. inputs.Select(i => Values(random, i.Shape.Length, i.Spread))];
        Parameter[] parameters = [.. inputs.Select((i, n) => new Parameter(i.Name, device.From(values[n], i.Shape)))];
        double[][] wide = [.. values.Select(Wide)];
        foreach (Parameter p in parameters) device.Fill(p.Gradient, float.NaN);

        double[] expected = reference(wide);
        float[] weights = Values(random, expected.Length, 1);
        Backward();
        float[][] once = [.. parameters.Select(p => p.Gradient.ToArray())];
        for (int n = 0; n < parameters.Length; n++) CheckGradient(n);
        Backward();
        for (int n = 0; n < parameters.Length; n++)
            Assert.All(
                parameters[n].Gradient.ToArray().Zip(once[n]),
                pair => Assert.Equal(2 * pair.Second, pair.First, Math.Abs(pair.Second) * 1e-4f + 1e-6f));
        foreach (Parameter p in parameters) p.Dispose();

        void Backward()
        {
            using Tape tape = new(device);
            Variable y = operation(tape, [.. parameters.Select(tape.Read)]);
            float[] got = y.Value.ToArray();
            Assert.Equal(expected.Length, got.Length);
            double scale = 1 + expected.Max(Math.Abs);
            for (int i = 0; i < got.Length; i++)
                Assert.True(Math.Abs(got[i] - expected[i]) <= tolerance * scale, $"value {i}: {got[i]} for {expected[i]}");
            using Tensor dy = device.From(weights, y.Shape);
            tape.Backward((y, dy));
        }

        void CheckGradient(int n)
        {
            Assert.True(parameters[n].HasGradient, $"{inputs[n].Name} got no gradient");
            double[] differences = new double[wide[n].Length];
            // All elements of small inputs, every so many of large ones.
            int every = Math.Max(1, differences.Length / 24);
            double scale = 1;
            List<int> chosen = [];
            for (int i = random.Next(every); i < differences.Length; i += every)
            {
                double x = wide[n][i];
                wide[n][i] = x + H;
                double above = Weighted(reference(wide));
                wide[n][i] = x - H;
                double below = Weighted(reference(wide));
                wide[n][i] = x;
                differences[i] = (above - below) / (2 * H);
                scale = Math.Max(scale, Math.Abs(differences[i]));
                chosen.Add(i);
            }
            foreach (int i in chosen)
                Assert.True(
                    Math.Abs(once[n][i] - differences[i]) <= 3 * tolerance * scale,
                    $"d{inputs[n].Name}[{i}]: {once[n][i]} for {differences[i]}");
        }

        double Weighted(double[] y) => y.Zip(weights, (a, b) => a * b).Sum();
    }

    public static float[] Values(Random random, int count, double spread) =>
        [.. Enumerable.Range(0, count).Select(_ => (float)(spread * (2 * random.NextDouble() - 1)))];

    public static double[] Wide(float[] values) => [.. values.Select(v => (double)v)];

    /// <summary>Every element within <paramref name="relative"/> of the largest.</summary>
    public static void Close(double[] expected, float[] got, double relative)
    {
        double bound = relative * (1 + expected.Max(Math.Abs));
        Assert.Equal(expected.Length, got.Length);
        for (int i = 0; i < got.Length; i++)
            Assert.True(Math.Abs(got[i] - expected[i]) <= bound, $"element {i}: {got[i]} for {expected[i]}, bound {bound:E1}");
    }
}
