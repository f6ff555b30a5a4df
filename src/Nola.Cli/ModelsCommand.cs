using System.CommandLine;
using Nola.Models;

namespace Nola.Cli;

/// <summary><c>nola models</c>: what <c>--model</c> can be.</summary>
internal static class ModelsCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Command command = new("models", "List the models on this machine: the embedded ones and those in the Hugging Face cache.")
        {
            common.Json,
        };
        command.Does((r, _) =>
        {
            IReadOnlyList<FoundModel> found = ModelCatalog.List();
            if (r.GetValue(common.Json))
            {
                Terminal.Json(new
                {
                    embedded = (string[])[LanguageModel.EmbeddedName, VisionModel.EmbeddedName],
                    cache = ModelLocator.Current.Cache,
                    models = found.Select(m => new
                    {
                        name = m.Name,
                        reads = m.ReadsImages ? "images" : "text",
                        directory = m.Directory,
                        revision = m.Revision,
                        bytes = m.Bytes,
                        problem = m.Problem,
                    }),
                });
                return 0;
            }
            Console.Out.WriteLine($"{LanguageModel.EmbeddedName,-32} embedded");
            Console.Out.WriteLine($"{VisionModel.EmbeddedName,-32} embedded  for images");
            foreach (FoundModel model in found)
            {
                string state = model.Problem is { } problem
                    ? "unusable: " + problem
                    : $"{model.Bytes / 1048576.0:N0} MiB  {(model.ReadsImages ? "for images  " : "")}{model.Directory}";
                Console.Out.WriteLine($"{model.Name,-32} {state}");
            }
            Terminal.Say($"{found.Count} found in {ModelLocator.Current.Cache}; "
                + "a directory with config.json and model.safetensors can be given as --model too.");
            return 0;
        });
        return command;
    }
}
