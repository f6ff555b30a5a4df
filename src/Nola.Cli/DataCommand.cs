using System.CommandLine;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola data</c>: what <c>--data</c> and <c>--images</c> can be, where it comes from and under which license.</summary>
internal static class DataCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string?> directory = new("directory")
        {
            Description = "Also look for data below this directory",
            Arity = ArgumentArity.ZeroOrOne,
        };
        Command command = new("data", "List the embedded data sets and those below a directory, with their licenses.")
        {
            directory, common.Json, DataConvertCommand.Create(),
        };
        command.Does((r, _) =>
        {
            List<string> skipped = [];
            List<FoundData> found = [.. DataCatalog.Embedded()];
            if (r.GetValue(directory) is { } place) found.AddRange(DataCatalog.Find(place, skipped.Add));
            if (r.GetValue(common.Json))
                Terminal.Json(new
                {
                    data = found.Select(Facts),
                    images = Images(),
                    skipped,
                    published = DataCatalog.Published.Select(Facts),
                });
            else Show(found, skipped);
            return 0;
        });
        return command;
    }

    private static object Facts(FoundData data) => new
    {
        path = data.Path,
        set = data.Set?.Key,
        split = data.Split.Length > 0 ? data.Split : null,
        pairs = data.Pairs,
        contexts = data.Contexts,
        license = data.Set?.License,
        home = data.Set?.Home,
    };

    private static object Facts(PublishedSet set) => new
    {
        set = set.Key,
        title = set.Title,
        license = set.License,
        home = set.Home,
        splits = set.Splits.Select(s => new { split = s.Name, pairs = s.Pairs }),
    };

    private static object[] Images()
    {
        ImageSet train = EmbeddedImages.Read(ImagePart.Train), test = EmbeddedImages.Read(ImagePart.Test);
        return
        [
            new
            {
                path = EmbeddedImages.Name,
                classes = train.Labels.Count,
                train = train.Images.Count,
                test = test.Images.Count,
                license = EmbeddedImages.License,
                home = EmbeddedImages.Home,
            },
        ];
    }

    private static void Show(List<FoundData> found, List<string> skipped)
    {
        foreach (FoundData data in found)
        {
            string what = data.Set is null ? "pairs of your own"
                : data.Split.Length > 0 ? $"{data.Set.Key}: {data.Split}"
                : $"{data.Set.Key}: not the number of pairs of a published split";
            Console.Out.WriteLine($"{data.Path,-32} {data.Pairs,7:N0} pairs, {data.Contexts,6:N0} contexts  {what}");
        }
        ImageSet images = EmbeddedImages.Read(ImagePart.Train);
        Console.Out.WriteLine(
            $"{EmbeddedImages.Name,-32} {images.Images.Count,7:N0} images of {images.Labels.Count} classes, for --images");
        foreach (string problem in skipped) Terminal.Say($"Not read: {problem}");
        Terminal.Say("");
        Terminal.Say($"Supported are {DataForms.Known}; directories of WebNLG's XML; and - for standard input. See docs/data.md.");
        foreach (PublishedSet set in DataCatalog.Published)
        {
            string embedded = EmbeddedData.Names.Contains(set.Key) ? " (embedded)" : "";
            Terminal.Say($"{set.Key,-7} {set.Title}; {set.License}; {set.Home}{embedded}");
        }
        Terminal.Say(
            $"{EmbeddedImages.Name,-7} {EmbeddedImages.Title}; {EmbeddedImages.License}; {EmbeddedImages.Home} (embedded)");
    }
}
