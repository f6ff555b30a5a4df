using System.CommandLine;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola merge</c>: an adapter added to its base, as a plain checkpoint.</summary>
internal static class MergeCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Option<string> output = new("--out") { Description = "Directory for config.json and model.safetensors", Required = true };
        Option<bool> half = new("--bfloat16") { Description = "Store weights in bfloat16: half the size, 8 bits of precision" };
        Command command =
            new("merge", "Add an adapter to its base model and write a plain checkpoint; without an adapter, write the model itself.")
            {
                output, half, common.Json,
            };
        common.AddTo(command);
        command.Does((r, _) => common.IsVision(r)
            ? common.WithVision(r, 0, (model, adapter) => Write(r, path =>
            {
                adapter?.Merge();
                model.Save(path, Type(r));
            }))
            : common.WithModel(r, (model, adapter) => Write(r, path =>
            {
                WeightFormat? codes = model.Codes;
                bool tied = model.Config.Tied is not null;
                adapter?.Merge();
                if (tied && model.Config.Tied is null)
                    Terminal.Say(
                        "The token embedding and the head were one table, of which the adapter changes one use: the checkpoint has a "
                        + "table for each, and tie_word_embeddings is false.");
                model.Save(path, codes is not null ? DType.BFloat16 : Type(r));
                if (codes is not null)
                    Terminal.Say(
                        $"The base is in {codes.Value.Name()}: what its codes stand for"
                        + $"{(adapter is null ? "" : ", with the adapter added,")} was written in bfloat16. It is another model than the "
                        + "base, and is not quantized.");
            })));
        return command;

        DType Type(ParseResult r) => r.GetValue(half) ? DType.BFloat16 : DType.Float32;

        int Write(ParseResult r, Action<string> write)
        {
            string path = r.GetValue(output)!;
            Terminal.RefuseUsed(path, "config.json");
            write(path);
            return Terminal.Wrote(r.GetValue(common.Json), path, "checkpoint");
        }
    }
}
