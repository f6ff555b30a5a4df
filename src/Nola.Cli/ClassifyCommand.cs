using System.CommandLine;
using System.Globalization;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola classify</c>: what images show.</summary>
internal static class ClassifyCommand
{
    // Images that are read at once.
    private const int Batch = 32;

    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string[]> files = new("images") { Description = "PNG or JPEG files", Arity = ArgumentArity.OneOrMore };
        Option<int> top = new WholeOption<int>("--top")
        {
            Description = "Classes of each image, likeliest first",
            DefaultValueFactory = _ => 1,
        };
        Option<int> size = CommonOptions.ImageSize();
        Command command = new("classify", "Tell what images show, with the probability of each class.") { files, top, size, common.Json };
        common.AddTo(command);
        common.TakeImages();
        command.Does((r, cancel) =>
        {
            int count = r.GetValue(top);
            if (count < 1) throw new NolaException($"--top is {count}; expected at least 1.");
            return common.WithVision(r, r.GetValue(size), (model, adapter) =>
            {
                List<object> facts = [];
                foreach (string[] batch in r.GetValue(files)!.Chunk(Batch))
                {
                    cancel.ThrowIfCancellationRequested();
                    float[][] images = [.. batch.Select(path => model.Preprocessing.Prepare(RgbImage.Read(path)))];
                    float[] logits = model.Logits(images, adapter);
                    int classes = model.Config.Labels.Count;
                    for (int i = 0; i < batch.Length; i++)
                    {
                        double[] probabilities = ImageEvaluation.Probabilities(logits.AsSpan(i * classes, classes));
                        if (!probabilities.All(double.IsFinite))
                            throw new NolaException(
                                $"{batch[i]}: the logits are not all finite numbers: a weight of the model or of the adapter is not "
                                + "finite, or far too large.");
                        (string Label, double Probability)[] likeliest =
                        [
                            .. probabilities.Select((p, label) => (model.Config.Labels[label], p)).OrderByDescending(p => p.p)
                                .Take(count),
                        ];
                        if (r.GetValue(common.Json)) facts.Add(Facts(batch[i], likeliest));
                        else Console.Out.WriteLine(Line(batch[i], likeliest));
                    }
                }
                if (r.GetValue(common.Json)) Terminal.Json(new { images = facts });
                return 0;
            });
        });
        return command;
    }

    private static object Facts(string path, (string Label, double Probability)[] likeliest) => new
    {
        file = path,
        label = likeliest[0].Label,
        probability = likeliest[0].Probability,
        classes = likeliest.Select(c => new { label = c.Label, probability = c.Probability }),
    };

    private static string Line(string path, (string Label, double Probability)[] likeliest)
    {
        IEnumerable<string> classes = likeliest.Select(c => $"{c.Label} {c.Probability.ToString("F4", CultureInfo.InvariantCulture)}");
        return NolaException.OneLine($"{path}: {string.Join(", ", classes)}", 2000);
    }
}
