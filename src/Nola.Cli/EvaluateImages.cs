using System.CommandLine;
using System.Globalization;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola evaluate images</c>: accuracy, by class, and what is taken for what.</summary>
internal static class EvaluateImages
{
    // A matrix of more classes is no longer read, but seen in the picture.
    private const int MostInTerminal = 12, LongestName = 28;

    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string> directory = new("directory") { Description = "Images in any form that train reads" };
        Option<string> part = new ChoiceOption("--part", "test", "train") { Description = "Which of its images" };
        Option<string> picture = new("--picture") { Description = "Draw the confusion matrix as an SVG file" };
        Option<int> size = CommonOptions.ImageSize();
        Command command = new("images", "Accuracy of a vision model on labeled images, by class, and its confusion matrix.")
        {
            directory, part, picture, size, common.Json,
        };
        common.AddTo(command);
        common.TakeImages();
        command.Does((r, cancel) => common.WithVision(r, r.GetValue(size), (model, adapter) =>
        {
            ImageSet set = ImageSet.Read(r.GetValue(directory)!, r.GetValue(part) == "train" ? ImagePart.Train : ImagePart.Test);
            CountView view = new(set.Images.Count, "images");
            int before = 0;
            ImageResult result = view.Show(() => ImageEvaluation.Test(model, set, adapter, onRead: Count, cancel: cancel));
            if (r.GetValue(picture) is { } path) AtomicFile.WriteText(path, ConfusionPicture.Draw(result));
            if (r.GetValue(common.Json)) Terminal.Json(Facts(result));
            else foreach (string line in Lines(result)) Console.Out.WriteLine(line);
            return 0;

            void Count(int read)
            {
                for (; before < read; before++) view.Add();
            }
        }));
        return command;
    }

    private static object Facts(ImageResult result) => new
    {
        accuracy = result.Accuracy,
        mean_per_class = result.MeanPerClass,
        right = result.Right,
        images = result.Count,
        loss = result.Loss,
        classes = result.Labels.Select((label, i) => new
        {
            label,
            images = result.CountOf(i),
            accuracy = result.CountOf(i) == 0 ? (double?)null : result.AccuracyOf(i),
            taken_for = Enumerable.Range(0, result.Labels.Count).Select(j => result.Confusion[i, j]),
        }),
    };

    private static IEnumerable<string> Lines(ImageResult result)
    {
        int[] present = [.. Enumerable.Range(0, result.Labels.Count).Where(label => result.CountOf(label) > 0)];
        foreach (int label in present)
            yield return $"{Share(result.AccuracyOf(label))}  {result.CountOf(label),6:N0}  {Short(result.Labels[label])}";
        yield return $"{Share(result.Accuracy)}  {result.Count,6:N0}  all images ({Share(result.MeanPerClass)} mean of classes)";
        if (result.Labels.Count > MostInTerminal)
        {
            yield return "";
            yield return "Most often taken for another:";
            foreach ((int of, int taken, int count) in Confusions(result).Take(MostInTerminal))
                yield return $"{count,6:N0}  {Short(result.Labels[of])} as {Short(result.Labels[taken])}";
            yield break;
        }
        yield return "";
        int width = Math.Max(4, result.Confusion.Cast<int>().Max().ToString(CultureInfo.InvariantCulture).Length + 1);
        yield return "Rows are what images are, columns what they are taken for, in the same order:";
        foreach (int of in present)
        {
            int[] row = [.. Enumerable.Range(0, result.Labels.Count).Select(taken => result.Confusion[of, taken])];
            yield return $"{string.Concat(row.Select(count => $"{count}".PadLeft(width)))}  {Short(result.Labels[of])}";
        }
    }

    private static IEnumerable<(int Of, int Taken, int Count)> Confusions(ImageResult result) =>
        Enumerable.Range(0, result.Labels.Count)
            .SelectMany(of => Enumerable.Range(0, result.Labels.Count).Select(taken => (Of: of, Taken: taken, result.Confusion[of, taken])))
            .Where(pair => pair.Of != pair.Taken && pair.Item3 > 0)
            .OrderByDescending(pair => pair.Item3);

    private static string Short(string label) => NolaException.OneLine(label, LongestName);

    private static string Share(double value) => value.ToString("F4", CultureInfo.InvariantCulture);
}
