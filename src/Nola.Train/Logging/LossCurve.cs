using System.Globalization;
using System.Text;

namespace Nola.Train;

/// <summary>Draws training and validation loss against steps as a self-contained SVG that reads on light and dark pages.</summary>
internal static class LossCurve
{
    private const double Width = 720, Height = 400, Left = 64, Right = 20, Top = 28, Bottom = 48;
    private const string TrainColor = "#4c8dd6", ValidColor = "#d9822b";

    /// <summary>The picture of (step, loss) points.</summary>
    public static string Draw(IReadOnlyList<(int Step, double Loss)> training, IReadOnlyList<(int Step, double Loss)> validation)
    {
        List<(int Step, double Loss)> smooth = Smoothed(training);
        double[] losses = [.. smooth.Select(p => p.Loss), .. validation.Select(p => p.Loss)];
        double last = Math.Max(1, Math.Max(training.LastOrDefault().Step, validation.LastOrDefault().Step));
        Axis axis = Axis.Around(losses.Min(), losses.Max());

        StringBuilder svg = new();
        Svg.Begin(svg, Width, Height);
        foreach (double y in axis.Marks)
        {
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{Left}\" x2=\"{Width - Right}\" "
                + $"y1=\"{Y(y):F1}\" y2=\"{Y(y):F1}\" stroke=\"{Svg.Ink}\" stroke-opacity=\"0.25\"/>");
            Svg.Text(svg, Left - 8, Y(y) + 4, "end", y.ToString("0.##", CultureInfo.InvariantCulture));
        }
        double stepX = Svg.NiceStep(last / 6);
        for (double x = 0; x <= last; x += stepX)
            Svg.Text(svg, X(x), Height - Bottom + 20, "middle", x.ToString("0", CultureInfo.InvariantCulture));
        Svg.Text(svg, (Left + Width - Right) / 2, Height - 10, "middle", "optimizer step");
        Svg.Text(svg, Left - 44, Top - 10, "start", "loss (nats a token)");
        Line(svg, training, TrainColor, 0.25, 1);
        Line(svg, smooth, TrainColor, 1, 2);
        Line(svg, validation, ValidColor, 1, 2);
        foreach ((int x, double y) in validation)
            svg.Append(CultureInfo.InvariantCulture, $"<circle cx=\"{X(x):F1}\" cy=\"{Y(y):F1}\" r=\"3.5\" fill=\"{ValidColor}\"/>");
        Legend(svg, Width - Right - 250, "training", TrainColor);
        if (validation.Count > 0) Legend(svg, Width - Right - 130, "validation", ValidColor);
        return svg.Append("\n</svg>\n").ToString();

        double X(double s) => Left + s / last * (Width - Left - Right);

        double Y(double loss) =>
            Top + (axis.High - Math.Clamp(loss, axis.Low, axis.High)) / (axis.High - axis.Low) * (Height - Top - Bottom);

        void Line(StringBuilder to, IReadOnlyList<(int Step, double Loss)> points, string color, double opacity, double width)
        {
            if (points.Count < 2) return;
            // More points than pixels only make the file larger.
            int every = Math.Max(1, points.Count / 1400);
            IEnumerable<string> path = points.Where((_, i) => i % every == 0 || i == points.Count - 1)
                .Select(p => string.Create(CultureInfo.InvariantCulture, $"{X(p.Step):F1},{Y(p.Loss):F1}"));
            to.Append(CultureInfo.InvariantCulture, $"<polyline fill=\"none\" stroke=\"{color}\" stroke-opacity=\"{opacity}\" "
                + $"stroke-width=\"{width}\" stroke-linejoin=\"round\" points=\"{string.Join(' ', path)}\"/>\n");
        }
    }

    // An exponential mean over about a twentieth of the run, corrected at its start.
    private static List<(int, double)> Smoothed(IReadOnlyList<(int Step, double Loss)> points)
    {
        double decay = Math.Exp(-20.0 / Math.Max(20, points.Count)), mean = 0, weight = 0;
        List<(int, double)> smooth = [];
        foreach ((int step, double loss) in points)
        {
            mean = decay * mean + (1 - decay) * loss;
            weight = decay * weight + (1 - decay);
            smooth.Add((step, mean / weight));
        }
        return smooth;
    }

    private static void Legend(StringBuilder svg, double x, string name, string color)
    {
        svg.Append(
            CultureInfo.InvariantCulture,
            $"<line x1=\"{x}\" x2=\"{x + 24}\" y1=\"{Top - 14}\" y2=\"{Top - 14}\" stroke=\"{color}\" stroke-width=\"3\"/>");
        Svg.Text(svg, x + 30, Top - 10, "start", name);
    }
}
