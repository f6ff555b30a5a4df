using System.Globalization;
using System.Net;
using System.Text;

namespace Nola.Train;

/// <summary>What the pictures share: a grey that reads on light and dark pages, text, and round steps of an axis.</summary>
internal static class Svg
{
    public const string Ink = "#7d8590";

    public static void Begin(StringBuilder svg, double width, double height) =>
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n");

    public static void Text(StringBuilder svg, double x, double y, string anchor, string text) =>
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{x:F1}\" y=\"{y:F1}\" text-anchor=\"{anchor}\" fill=\"{Ink}\">{WebUtility.HtmlEncode(text)}</text>\n");

    public static double NiceStep(double rough)
    {
        if (!(rough > 0)) return 1;
        double power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        return power * ((rough / power) switch { <= 1 => 1, <= 2 => 2, <= 5 => 5, _ => 10 });
    }
}
