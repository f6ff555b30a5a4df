using System.Globalization;
using System.Text;

namespace Nola.Train;

/// <summary>
/// Draws a score against the number of trained parameters, which is on a logarithmic axis: one line for each series, a bar of
/// one standard deviation each way, and the base model and full fine-tuning as levels.
/// </summary>
internal static class ScorePlot
{
    private const double Width = 760, Height = 440, Left = 64, Right = 24, Top = 64, Bottom = 52;

    private static readonly string[] colors = ["#4c8dd6", "#d9822b", "#3aa676", "#b45bc4", "#c9504f", "#8a8f3c"];

    /// <summary>The picture; null while no method of a series has the score.</summary>
    public static string? Draw(string score, IReadOnlyList<MethodSummary> methods)
    {
        MethodSummary[] scored = [.. methods.Where(m => m.Scores.TryGetValue(score, out Spread s) && double.IsFinite(s.Mean))];
        IGrouping<string, MethodSummary>[] series =
            [.. scored.Where(m => m.Method.Series.Length > 0 && m.Trained > 0).GroupBy(m => m.Method.Series)];
        if (series.Length == 0) return null;
        MethodSummary[] levels =
            [.. scored.Where(m => m.Method.Series.Length == 0
                && (m.Method.Kind == ExperimentKind.Base || m.Method.Settings.GetValueOrDefault("method") == "full"))];
        Axes axes = new(score, [.. series.SelectMany(s => s)], levels);
        StringBuilder svg = new();
        Svg.Begin(svg, Width, Height);
        axes.Draw(svg);
        double legend = Left;
        for (int i = 0; i < series.Length; i++)
        {
            string color = colors[i % colors.Length];
            Series(svg, axes, score, [.. series[i].OrderBy(m => m.Trained)], color);
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{legend:F1}\" x2=\"{legend + 22:F1}\" "
                + $"y1=\"{Top - 44}\" y2=\"{Top - 44}\" stroke=\"{color}\" stroke-width=\"3\"/>");
            Svg.Text(svg, legend + 28, Top - 40, "start", series[i].Key);
            legend += 44 + 7.5 * series[i].Key.Length;
        }
        foreach (MethodSummary level in levels) Level(svg, axes, level, score);
        return svg.Append("</svg>\n").ToString();
    }

    private static void Series(StringBuilder svg, Axes axes, string score, MethodSummary[] methods, string color)
    {
        string points = string.Join(
            ' ',
            methods.Select(m => string.Create(CultureInfo.InvariantCulture, $"{axes.X(m.Trained):F1},{axes.Y(m.Scores[score].Mean):F1}")));
        if (methods.Length > 1)
            svg.Append(
                CultureInfo.InvariantCulture, $"<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{points}\"/>");
        foreach (MethodSummary m in methods)
        {
            Spread s = m.Scores[score];
            double x = axes.X(m.Trained);
            if (s.Deviation > 0)
                svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{x:F1}\" x2=\"{x:F1}\" y1=\"{axes.Y(s.Mean - s.Deviation):F1}\" "
                    + $"y2=\"{axes.Y(s.Mean + s.Deviation):F1}\" stroke=\"{color}\" stroke-width=\"1.5\"/>");
            svg.Append(CultureInfo.InvariantCulture, $"<circle cx=\"{x:F1}\" cy=\"{axes.Y(s.Mean):F1}\" r=\"4\" "
                + $"fill=\"{color}\"><title>{m.Method.Name}: {s}, {m.Trained:N0} trained</title></circle>\n");
        }
    }

    private static void Level(StringBuilder svg, Axes axes, MethodSummary level, string score)
    {
        double y = axes.Y(level.Scores[score].Mean);
        string name = level.Trained == 0
            ? level.Method.Name
            : $"{level.Method.Name} ({level.Trained.ToString("N0", CultureInfo.InvariantCulture)} trained)";
        // A level far outside would flatten everything else; its figure stands at the edge it lies beyond.
        bool inside = y >= Top && y <= Height - Bottom;
        if (inside)
            svg.Append(
                CultureInfo.InvariantCulture,
                $"<line x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{y:F1}\" y2=\"{y:F1}\" stroke=\"{Svg.Ink}\" stroke-dasharray=\"5 4\"/>");
        double at = Math.Clamp(y, Top + 8, Height - Bottom - 2) - 5;
        Svg.Text(svg, Width - Right - 4, at, "end", inside ? name : $"{name}: {level.Scores[score]} {(y < Top ? "↑" : "↓")}");
    }

    private sealed class Axes
    {
        private readonly string score;
        private readonly double lowX, highX;
        private readonly Axis vertical;

        public Axes(string score, MethodSummary[] points, MethodSummary[] levels)
        {
            this.score = score;
            // A third of a power of ten around the points.
            lowX = Math.Log10(points.Min(m => m.Trained)) - 0.3;
            highX = Math.Log10(points.Max(m => m.Trained)) + 0.3;
            double low = points.Min(m => m.Scores[score].Mean - m.Scores[score].Deviation);
            double high = points.Max(m => m.Scores[score].Mean + m.Scores[score].Deviation);
            double span = Math.Max(high - low, Math.Abs(high) * 0.01);
            foreach (double level in levels.Select(m => m.Scores[score].Mean))
                if (level > low - span && level < high + span) (low, high) = (Math.Min(low, level), Math.Max(high, level));
            vertical = Axis.Around(low, high, span);
        }

        public double X(double trained) => Left + (Math.Log10(trained) - lowX) / (highX - lowX) * (Width - Left - Right);

        public double Y(double value) => Top + (vertical.High - value) / (vertical.High - vertical.Low) * (Height - Top - Bottom);

        public void Draw(StringBuilder svg)
        {
            foreach (double y in vertical.Marks)
            {
                svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{Left}\" x2=\"{Width - Right}\" "
                    + $"y1=\"{Y(y):F1}\" y2=\"{Y(y):F1}\" stroke=\"{Svg.Ink}\" stroke-opacity=\"0.25\"/>");
                Svg.Text(svg, Left - 8, Y(y) + 4, "end", y.ToString("0.####", CultureInfo.InvariantCulture));
            }
            for (int power = (int)Math.Floor(lowX); power <= highX; power++)
                foreach (int digit in (ReadOnlySpan<int>)[1, 2, 5])
                {
                    double trained = digit * Math.Pow(10, power), x = X(trained);
                    if (x < Left || x > Width - Right) continue;
                    svg.Append(
                        CultureInfo.InvariantCulture,
                        $"<line x1=\"{x:F1}\" x2=\"{x:F1}\" y1=\"{Height - Bottom}\" y2=\"{Height - Bottom + 5}\" stroke=\"{Svg.Ink}\"/>");
                    Svg.Text(svg, x, Height - Bottom + 20, "middle", trained.ToString("N0", CultureInfo.InvariantCulture));
                }
            Svg.Text(svg, (Left + Width - Right) / 2, Height - 10, "middle", "trained parameters");
            Svg.Text(svg, Left - 44, Top - 16, "start", score);
        }
    }
}
