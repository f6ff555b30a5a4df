using System.Globalization;
using System.Net;
using System.Text;

namespace Nola.Train;

/// <summary>What the pictures share: a gray that reads on light and dark pages, text, and round steps of an axis.</summary>
internal static class Svg
{
    public const string Ink = "#7d8590";

    public static void Begin(StringBuilder svg, double width, double height) =>
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" "
            + $"width=\"{width}\" height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n");

    public static void Text(StringBuilder svg, double x, double y, string anchor, string text) =>
        svg.Append(
            CultureInfo.InvariantCulture,
            $"<text x=\"{x:F1}\" y=\"{y:F1}\" text-anchor=\"{anchor}\" fill=\"{Ink}\">{WebUtility.HtmlEncode(text)}</text>\n");

    public static double NiceStep(double rough)
    {
        if (!(rough > 0)) return 1;
        double power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        return power * ((rough / power) switch { <= 1 => 1, <= 2 => 2, <= 5 => 5, _ => 10 });
    }
}

/// <summary>An axis from one round number to another, with marks at round numbers between.</summary>
internal readonly record struct Axis(double Low, double High, double Step)
{
    // What is closer together than the ninth digit shows is one value to the eye; and far outside of these, sums have no end.
    private const double Resolution = 1e-9, Smallest = 1e-300, Largest = 1e300;

    /// <summary>Some five marks around values; around one value alone, two marks with it between them.</summary>
    /// <param name="low">The least value.</param>
    /// <param name="high">The largest.</param>
    /// <param name="span">What is to be seen at least, where the values are closer together.</param>
    public static Axis Around(double low, double high, double span = 0)
    {
        (low, high) = (Math.Clamp(low, -Largest, Largest), Math.Clamp(high, -Largest, Largest));
        span = Math.Max(high - low, span);
        double visible = Math.Max(Smallest, Resolution * Math.Max(Math.Abs(low), Math.Abs(high)));
        double step = Svg.NiceStep(span > visible ? span / 5 : Math.Max(1, visible));
        double first = Math.Floor(low / step) * step;
        return new(first, Math.Max(Math.Ceiling(high / step) * step, first + step), step);
    }

    /// <summary>Where the marks are, ascending.</summary>
    public IEnumerable<double> Marks
    {
        get
        {
            // Counted, since a sum of steps could stand still.
            int last = (int)Math.Round((High - Low) / Step);
            for (int i = 0; i <= last; i++) yield return Low + i * Step;
        }
    }
}
