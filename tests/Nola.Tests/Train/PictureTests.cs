using System.Xml.Linq;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Pictures have an axis that ends, and points on the picture, whatever numbers are drawn.</summary>
public sealed class PictureTests
{
    // The smoothed mean of equal losses may differ from them in its last digit.
    [Theory]
    [InlineData(3.5, 3.5, new double[] { 3, 4 })]
    [InlineData(3.5, 3.5000000000000004, new double[] { 3, 4 })]
    [InlineData(0, 0, new double[] { 0, 1 })]
    [InlineData(0, double.Epsilon, new double[] { 0, 1 })]
    [InlineData(1e17, 1e17, new[] { 1e17, 1.000000001e17 })]
    [InlineData(-2, 3, new double[] { -2, -1, 0, 1, 2, 3 })]
    [InlineData(0.11, 0.29, new[] { 0.1, 0.15, 0.2, 0.25, 0.3 })]
    [InlineData(1e6, 1e6 + 1, new[] { 1e6, 1e6 + 0.2, 1e6 + 0.4, 1e6 + 0.6, 1e6 + 0.8, 1e6 + 1 })]
    public void An_axis_has_round_marks_around_its_values(double low, double high, double[] marks) =>
        Assert.Equal(marks, Axis.Around(low, high).Marks, (a, b) => Math.Abs(a - b) <= 1e-12 * Math.Max(Math.Abs(a), 1e-3));

    [Theory]
    [InlineData(double.MinValue, double.MaxValue)]
    [InlineData(double.MaxValue, double.MaxValue)]
    [InlineData(-1, double.PositiveInfinity)]
    [InlineData(1e300, 1.0000001e300)]
    [InlineData(1e-320, 2e-320)]
    public void An_axis_of_numbers_at_the_edges_has_few_marks_that_are_finite(double low, double high)
    {
        double[] marks = [.. Axis.Around(low, high).Marks];
        Assert.InRange(marks.Length, 2, 12);
        Assert.All(marks, mark => Assert.True(double.IsFinite(mark)));
        Assert.Equal(marks.Distinct().Order(), marks);
    }

    [Theory]
    [InlineData(3.5)]
    [InlineData(0.1)]
    [InlineData(1e17)]
    [InlineData(double.MaxValue)]
    public void Losses_that_do_not_change_are_a_level_line(double loss)
    {
        (int, double)[] steps = [.. Enumerable.Range(1, 100).Select(step => (step, loss))];
        XElement picture = XElement.Parse(LossCurve.Draw(steps, [(50, loss), (100, loss)]));
        XNamespace svg = "http://www.w3.org/2000/svg";
        string[] heights = [.. picture.Elements(svg + "circle").Select(circle => circle.Attribute("cy")!.Value)];
        Assert.Equal(2, heights.Length);
        Assert.Equal(heights[0], heights[1]);
        // On the picture, which has 400 rows.
        Assert.InRange(double.Parse(heights[0], System.Globalization.CultureInfo.InvariantCulture), 28, 352);
        Assert.InRange(picture.Elements(svg + "text").Count(), 8, 24);
    }
}
