using System.CommandLine;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola merge</c> and <c>nola export</c>: an adapter in the forms that other programs read.</summary>
internal static class MergeCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Option<string> output = new("--out") { Description = "Directory for config.json and model.safetensors", Required = true };
        Option<bool> half = new("--bfloat16") { Description = "Store weights in bfloat16: half the size, 8 bits of precision" };
        Command command = new("merge", "Add an adapter to its base model and write a plain GPT-2 checkpoint; without an adapter, write the model itself.") { output, half, common.Json };
        common.AddTo(command);
        command.Does((r, _) => common.WithModel(r, (model, adapter) =>
        {
            string path = r.GetValue(output)!;
            RefuseUsed(path, "config.json");
            adapter?.Merge();
            model.Save(path, r.GetValue(half) ? DType.BFloat16 : DType.Float32);
            return Report(r.GetValue(common.Json), path, "checkpoint");
        }));
        return command;
    }

    public static Command CreateExport()
    {
        CommonOptions common = new();
        Option<string> output = new("--out") { Description = "Directory for adapter_config.json and adapter_model.safetensors", Required = true };
        Option<string> format = new("--format") { Description = "peft-lora", DefaultValueFactory = _ => "peft-lora" };
        format.AcceptOnlyFromAmong("peft-lora");
        Command command = new("export", "Write an adapter as a Hugging Face PEFT LoRA directory.") { output, format, common.Json };
        common.AddTo(command);
        common.Adapter.Required = true;
        command.Does((r, _) => common.WithModel(r, (_, adapter) =>
        {
            string path = r.GetValue(output)!;
            RefuseUsed(path, "adapter_config.json");
            PeftLora.Save(adapter!, path);
            return Report(r.GetValue(common.Json), path, "PEFT LoRA");
        }));
        return command;
    }

    private static void RefuseUsed(string directory, string file)
    {
        if (File.Exists(Path.Combine(directory, file))) throw new NolaException($"{directory}: has a {file} already; choose another --out.");
    }

    private static int Report(bool json, string path, string what)
    {
        long bytes = Directory.EnumerateFiles(path).Sum(f => new FileInfo(f).Length);
        if (json) Terminal.Json(new { @out = path, bytes });
        else Terminal.Say($"Wrote the {what} to {path} ({bytes / 1024.0:N0} KB).");
        return 0;
    }
}
