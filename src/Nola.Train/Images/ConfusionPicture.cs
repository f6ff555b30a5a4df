using System.Globalization;
using System.Net;
using System.Text;

namespace Nola.Train;

/// <summary>Draws a confusion matrix as a self-contained SVG that reads on light and dark pages: rows are what images are, columns what
/// they are taken for.</summary>
internal static class ConfusionPicture
{
    private const double Top = 40, Right = 16;
    private const string Color = "#4c8dd6";

    // Above it there is no room for numbers and names.
    private const int MostNamed = 40;

    /// <summary>The picture.</summary>
    public static string Draw(ImageResult result)
    {
        int classes = result.Labels.Count;
        double cell = Math.Clamp(640.0 / classes, 3, 44);
        bool named = classes <= MostNamed;
        double left = named ? 24 + 7 * Math.Min(24, result.Labels.Max(label => label.Length)) : 16, side = cell * classes;
        double bottom = named ? left : 16;
        StringBuilder svg = new();
        Svg.Begin(svg, left + side + Right, Top + side + bottom);
        string title = string.Create(
            CultureInfo.InvariantCulture, $"{result.Right:N0} of {result.Count:N0} right, {100 * result.Accuracy:F1} %");
        Svg.Text(svg, left, 24, "start", title);
        for (int of = 0; of < classes; of++)
        {
            int count = result.CountOf(of);
            for (int taken = 0; taken < classes; taken++)
            {
                int images = result.Confusion[of, taken];
                (double x, double y) = (left + taken * cell, Top + of * cell);
                double share = count == 0 ? 0 : (double)images / count;
                svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{x:F1}\" y=\"{y:F1}\" width=\"{cell:F1}\" height=\"{cell:F1}\" "
                    + $"fill=\"{Color}\" fill-opacity=\"{share:F3}\" stroke=\"{Svg.Ink}\" stroke-opacity=\"0.2\"/>\n");
                if (named && images > 0 && cell >= 18)
                    Svg.Text(svg, x + cell / 2, y + cell / 2 + 4, "middle", images.ToString(CultureInfo.InvariantCulture));
            }
            if (!named) continue;
            string label = Short(result.Labels[of]);
            Svg.Text(svg, left - 8, Top + of * cell + cell / 2 + 4, "end", label);
            (double labelX, double labelY) = (left + of * cell + cell / 2 + 4, Top + side + 8);
            svg.Append(CultureInfo.InvariantCulture, $"<text transform=\"translate({labelX:F1} {labelY:F1}) rotate(-90)\" "
                + $"text-anchor=\"end\" fill=\"{Svg.Ink}\">{WebUtility.HtmlEncode(label)}</text>\n");
        }
        return svg.Append("</svg>\n").ToString();
    }

    private static string Short(string label) => label.Length <= 24 ? label : label[..23] + "…";
}
