using System.CommandLine;
using Nola.Models;

namespace Nola.Cli;

/// <summary><c>nola export</c>: an adapter in the form that Hugging Face PEFT reads.</summary>
internal static class ExportCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Option<string> output = new("--out")
        {
            Description = "Directory for adapter_config.json and adapter_model.safetensors",
            Required = true,
        };
        Option<string> format = new ChoiceOption("--format", "peft", "peft-lora")
        {
            Description = "peft: PEFT's own form of the method, or the LoRA with the same outputs where there is none; "
                + "peft-lora: always that LoRA",
        };
        Option<int> nearest = new WholeOption<int>("--nearest-rank")
        {
            Description = "Write the LoRA of this rank on each map that is nearest to what the adapter adds, whatever its method, "
                + "and say how much of that it misses",
        };
        Command command = new("export", "Write an adapter as a Hugging Face PEFT directory.") { output, format, nearest, common.Json };
        common.AddTo(command);
        common.Adapter.Required = true;
        command.Does((r, _) => common.IsVision(r)
            ? common.WithVision(r, 0, (_, adapter) => Write(r, adapter!))
            : common.WithModel(r, (_, adapter) => Write(r, adapter!)));
        return command;

        int Write(ParseResult r, LoadedAdapter adapter)
        {
            string path = r.GetValue(output)!;
            Terminal.RefuseUsed(path, "adapter_config.json");
            if (r.GetResult(nearest) is not null) return WriteNearest(r, adapter, path, r.GetValue(nearest));
            PeftFiles.Save(adapter, path, asLora: r.GetValue(format) == "peft-lora");
            return Terminal.Wrote(r.GetValue(common.Json), path, "PEFT adapter");
        }

        int WriteNearest(ParseResult r, LoadedAdapter adapter, string path, int rank)
        {
            double missed = PeftFiles.SaveNearest(adapter, path, rank);
            Terminal.Say(FormattableString.Invariant(
                $"The nearest LoRA of rank {rank} misses {100 * missed:0.###} % of what the adapter adds (Frobenius norm)."));
            return Terminal.Wrote(r.GetValue(common.Json), path, "PEFT adapter", missed);
        }
    }
}
