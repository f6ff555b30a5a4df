using System.CommandLine;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola inspect</c>: what an adapter, a checkpoint or any safetensors file is.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string> path = new("path")
        {
            Description = "Adapter file, joint file or FILE:TASK of it, PEFT directory, model directory or name, or any safetensors file",
        };
        Command command = new("inspect", "Describe an adapter, a checkpoint or a safetensors file.") { path, common.Json };
        command.Does((r, _) => Show(Describe(r.GetValue(path)!), r.GetValue(common.Json)));
        return command;
    }

    private static Dictionary<string, object> Describe(string path)
    {
        if (TaskFile.Exists(path)) return DescribeFile(path);
        string peft = Path.Combine(path, "adapter_config.json");
        if (File.Exists(peft)) return DescribePeft(path, peft);
        if (path == LanguageModel.EmbeddedName && !Directory.Exists(path)) return DescribeEmbedded();
        if (VisionModel.Recognizes(path)) return DescribeVision(path);
        string directory = ModelLocator.Current.Find(path), file = Path.Combine(directory, "config.json");
        ModelConfig config = ModelFamilies.Parse(InputFile.ReadAll(file, JsonInput.LargestConfig), file);
        return Model(directory, config, Directory.EnumerateFiles(directory, "*.safetensors").Select(DescribeTensors));
    }

    private static Dictionary<string, object> DescribeFile(string path)
    {
        IReadOnlyList<string>? tasks = File.Exists(path) ? TaskFile.Tasks(path) : null;
        using Safetensors file = File.Exists(path) ? Safetensors.Open(path) : TaskFile.Open(path);
        string format = file.Metadata.GetValueOrDefault("format", "");
        string? method = file.Metadata.GetValueOrDefault("method");
        string kind = tasks is not null ? $"{method} adapters of {tasks.Count} tasks"
            : format.StartsWith("nola-adapter", StringComparison.Ordinal) ? $"{method} adapter"
            : format.StartsWith("nola-train-state", StringComparison.Ordinal) ? "training state"
            : "safetensors";
        // What is packed says itself how many values it holds.
        bool packed = file.Metadata.TryGetValue("bits", out string? bits);
        Dictionary<string, object> facts = new()
        {
            ["path"] = path,
            ["kind"] = kind,
            ["bytes"] = File.Exists(path) ? InputFile.Length(path) : file.Entries.Sum(entry => entry.End - entry.Begin),
            ["values"] = packed && tasks is null && long.TryParse(file.Metadata.GetValueOrDefault("values"), out long values)
                ? values
                : file.Entries.Sum(e => e.Length),
        };
        if (format.StartsWith("nola-adapter", StringComparison.Ordinal)) facts["bits"] = packed ? bits! : "32";
        if (tasks is not null) facts["tasks"] = tasks;
        facts["metadata"] = file.Metadata;
        facts["tensors"] = Tensors(file);
        return facts;
    }

    private static Dictionary<string, object> DescribePeft(string directory, string config)
    {
        using JsonDocument document = JsonInput.Read(config);
        return new()
        {
            ["path"] = directory,
            ["kind"] = "PEFT adapter",
            ["config"] = document.RootElement.Clone(),
            ["files"] = Directory.EnumerateFiles(directory, "*.safetensors").Select(DescribeTensors).ToArray(),
        };
    }

    private static Dictionary<string, object> DescribeEmbedded()
    {
        using Device device = Device.Open("cpu", 1);
        using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        Dictionary<string, object> facts = Model("embedded", model.Config, []);
        facts["identity"] = model.Identity;
        return facts;
    }

    private static Dictionary<string, object> DescribeVision(string path)
    {
        using Device device = Device.Open("cpu", 1);
        using VisionModel model = VisionModel.Load(path, device);
        VitConfig c = model.Config;
        return new()
        {
            ["path"] = path,
            ["kind"] = c.Title + " model",
            ["parameters"] = c.ParameterCount,
            ["layers"] = c.Layers,
            ["heads"] = c.Heads,
            ["channels"] = c.Channels,
            ["image_size"] = c.ImageSize,
            ["patch_size"] = c.PatchSize,
            ["classes"] = c.Labels.Count,
            ["identity"] = model.Identity,
        };
    }

    private static Dictionary<string, object> Model(string place, ModelConfig c, IEnumerable<object> files) => new()
    {
        ["path"] = place,
        ["kind"] = c.Family.Title + " model",
        ["parameters"] = c.ParameterCount,
        ["layers"] = c.Shape.Layers,
        ["heads"] = c.Shape.Attention.Heads,
        ["channels"] = c.Shape.Channels,
        ["vocabulary"] = c.Shape.Vocabulary,
        ["positions"] = c.Shape.Positions,
        ["files"] = files.ToArray(),
    };

    private static object DescribeTensors(string path)
    {
        using Safetensors file = Safetensors.Open(path);
        return new { path, bytes = InputFile.Length(path), metadata = file.Metadata, tensors = Tensors(file) };
    }

    private static object[] Tensors(Safetensors file) =>
        [.. file.Entries.OrderBy(e => e.Name, StringComparer.Ordinal).Select(e => new { name = e.Name, dtype = e.Type, shape = e.Shape })];

    private static int Show(Dictionary<string, object> facts, bool json)
    {
        if (json) Terminal.Json(facts);
        else foreach (string line in FactsView.Lines(JsonSerializer.SerializeToElement(facts))) Console.Out.WriteLine(line);
        return 0;
    }
}
