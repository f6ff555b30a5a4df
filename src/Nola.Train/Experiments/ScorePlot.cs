using System.Globalization;
using System.Text;

namespace Nola.Train;

/// <summary>
/// Draws a score against the number of trained parameters, which is on a logarithmic axis: one line for each series, a bar of
/// one standard deviation each way, and the base model and full fine-tuning as levels. A second round of the colors is dashed and has
/// squares, a third is dotted and has diamonds.
/// </summary>
internal static class ScorePlot
{
    private const double Width = 760, Inner = 324, Left = 64, Right = 24, Below = 52, LegendRow = 20;

    private static readonly string[] colors = ["#4c8dd6", "#d9822b", "#3aa676", "#b45bc4", "#c9504f", "#8a8f3c"];

    private static readonly string[] dashes = ["", " stroke-dasharray=\"7 4\"", " stroke-dasharray=\"2 3\""];

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
        (double X, int Row)[] legend = Legend([.. series.Select(s => s.Key)]);
        Axes axes = new(score, [.. series.SelectMany(s => s)], levels, 44 + LegendRow * (legend[^1].Row + 1));
        StringBuilder svg = new();
        Svg.Begin(svg, Width, axes.Bottom + Below);
        axes.Draw(svg);
        for (int i = 0; i < series.Length; i++)
        {
            Line line = new(colors[i % colors.Length], i / colors.Length % dashes.Length);
            Series(svg, axes, score, [.. series[i].OrderBy(m => m.Trained)], line);
            (double x, double y) = (legend[i].X, LegendRow * (legend[i].Row + 1));
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{x:F1}\" x2=\"{x + 22:F1}\" y1=\"{y}\" y2=\"{y}\" "
                + $"stroke=\"{line.Color}\" stroke-width=\"3\"{line.Dash}/>");
            Svg.Text(svg, x + 28, y + 4, "start", series[i].Key);
        }
        foreach (MethodSummary level in levels) Level(svg, axes, level, score);
        return svg.Append("</svg>\n").ToString();
    }

    // Where each name of the legend stands; a row that is full is followed by another.
    private static (double X, int Row)[] Legend(string[] names)
    {
        (double X, int Row)[] places = new (double, int)[names.Length];
        (double x, int row) = (Left, 0);
        for (int i = 0; i < names.Length; i++)
        {
            double width = 44 + 7.5 * names[i].Length;
            if (x + width > Width && x > Left) (x, row) = (Left, row + 1);
            places[i] = (x, row);
            x += width;
        }
        return places;
    }

    private static void Series(StringBuilder svg, Axes axes, string score, MethodSummary[] methods, Line line)
    {
        string points = string.Join(
            ' ',
            methods.Select(m => string.Create(CultureInfo.InvariantCulture, $"{axes.X(m.Trained):F1},{axes.Y(m.Scores[score].Mean):F1}")));
        if (methods.Length > 1)
            svg.Append(
                CultureInfo.InvariantCulture,
                $"<polyline fill=\"none\" stroke=\"{line.Color}\" stroke-width=\"2\"{line.Dash} points=\"{points}\"/>");
        foreach (MethodSummary m in methods)
        {
            Spread s = m.Scores[score];
            double x = axes.X(m.Trained), y = axes.Y(s.Mean);
            if (s.Deviation > 0)
                svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{x:F1}\" x2=\"{x:F1}\" y1=\"{axes.Y(s.Mean - s.Deviation):F1}\" "
                    + $"y2=\"{axes.Y(s.Mean + s.Deviation):F1}\" stroke=\"{line.Color}\" stroke-width=\"1.5\"/>");
            (string mark, string place) = line.Round switch
            {
                0 => ("circle", FormattableString.Invariant($"cx=\"{x:F1}\" cy=\"{y:F1}\" r=\"4\"")),
                1 => ("rect", FormattableString.Invariant($"x=\"{x - 3.5:F1}\" y=\"{y - 3.5:F1}\" width=\"7\" height=\"7\"")),
                _ => ("path", FormattableString.Invariant($"d=\"M{x:F1},{y - 5:F1} l5,5 l-5,5 l-5,-5 Z\"")),
            };
            svg.Append(
                CultureInfo.InvariantCulture,
                $"<{mark} {place} fill=\"{line.Color}\"><title>{m.Method.Name}: {s}, {m.Trained:N0} trained</title></{mark}>\n");
        }
    }

    private static void Level(StringBuilder svg, Axes axes, MethodSummary level, string score)
    {
        double y = axes.Y(level.Scores[score].Mean);
        string name = level.Trained == 0
            ? level.Method.Name
            : $"{level.Method.Name} ({level.Trained.ToString("N0", CultureInfo.InvariantCulture)} trained)";
        // A level far outside would flatten everything else; its figure stands at the edge it lies beyond.
        bool inside = y >= axes.Top && y <= axes.Bottom;
        if (inside)
            svg.Append(
                CultureInfo.InvariantCulture,
                $"<line x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{y:F1}\" y2=\"{y:F1}\" stroke=\"{Svg.Ink}\" stroke-dasharray=\"5 4\"/>");
        double at = Math.Clamp(y, axes.Top + 8, axes.Bottom - 2) - 5;
        Svg.Text(svg, Width - Right - 4, at, "end", inside ? name : $"{name}: {level.Scores[score]} {(y < axes.Top ? "↑" : "↓")}");
    }

    /// <summary>How a series is drawn.</summary>
    /// <param name="Color">Of lines and marks.</param>
    /// <param name="Round">How often the colors were gone through before.</param>
    private readonly record struct Line(string Color, int Round)
    {
        public string Dash => dashes[Round];
    }

    private sealed class Axes
    {
        private readonly string score;
        private readonly double lowX, highX;
        private readonly Axis vertical;

        public Axes(string score, MethodSummary[] points, MethodSummary[] levels, double top)
        {
            (this.score, Top, Bottom) = (score, top, top + Inner);
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

        /// <summary>Where the field of the points begins, from above.</summary>
        public double Top { get; }

        /// <summary>Where it ends.</summary>
        public double Bottom { get; }

        public double X(double trained) => Left + (Math.Log10(trained) - lowX) / (highX - lowX) * (Width - Left - Right);

        public double Y(double value) => Top + (vertical.High - value) / (vertical.High - vertical.Low) * Inner;

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
                        $"<line x1=\"{x:F1}\" x2=\"{x:F1}\" y1=\"{Bottom}\" y2=\"{Bottom + 5}\" stroke=\"{Svg.Ink}\"/>");
                    Svg.Text(svg, x, Bottom + 20, "middle", trained.ToString("N0", CultureInfo.InvariantCulture));
                }
            Svg.Text(svg, (Left + Width - Right) / 2, Bottom + 42, "middle", "trained parameters");
            Svg.Text(svg, Left - 44, Top - 16, "start", score);
        }
    }
}
