using System.CommandLine;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola forward</c>: logits of a sequence, for checking a checkpoint from outside.</summary>
internal static class ForwardCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Option<string> ids = new("--ids") { Description = "Token ids, for example \"1,2,3\"", Required = true };
        Option<string> output = new("--out") { Description = "Safetensors file with one tensor 'logits' (T, V), float32", Required = true };
        Command command = new("forward", "Write the logits of every position of a sequence to a safetensors file.")
        {
            ids, output, common.Json,
        };
        common.AddTo(command);
        command.Does((r, _) => common.WithModel(r, (model, adapter) =>
        {
            int[] sequence = CommonOptions.Ids(r.GetValue(ids)!, "--ids");
            if (sequence.Length == 0) throw new NolaException("--ids is empty; give at least one token id.");
            foreach (int id in sequence)
                if (id >= model.Shape.Vocabulary)
                    throw new NolaException($"--ids: {id} is outside the model's vocabulary of {model.Shape.Vocabulary}.");
            float[] logits = model.Logits(sequence, adapter);
            int bad = Array.FindIndex(logits, value => !float.IsFinite(value));
            if (bad >= 0)
                throw new NolaException(
                    $"The logits of position {bad / model.Shape.Vocabulary} (from 0) are not all finite numbers, and are not written: a " +
                    "weight of the model or of the adapter is not finite, or far too large.");
            string path = r.GetValue(output)!;
            SafetensorsWriter.Write(path, [new SafetensorsTensor("logits", [sequence.Length, model.Shape.Vocabulary], logits)]);
            if (r.GetValue(common.Json)) Terminal.Json(new { @out = path, shape = new[] { sequence.Length, model.Shape.Vocabulary } });
            else Terminal.Say($"Wrote logits ({sequence.Length}, {model.Shape.Vocabulary}) to {path}.");
            return 0;
        }));
        return command;
    }
}
