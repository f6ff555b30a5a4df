using System.CommandLine;
using Nola.Models;

namespace Nola.Cli;

/// <summary><c>nola quantize</c>: an adapter with coefficients of a few bits.</summary>
internal static class QuantizeCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string> adapter = new("adapter") { Description = "Float32 adapter file of Nola" };
        Option<int> bits = new WholeOption<int>("--bits") { Description = "8, 4, 3 or 2", Required = true };
        Option<string> output = new("--out") { Description = "File to write", Required = true };
        Command command = new("quantize", "Round an adapter's coefficients to 8, 4, 3 or 2 bits, and pack them. No model is needed.")
        {
            adapter, bits, output, common.Json,
        };
        // As it was spelled in earlier versions.
        command.Aliases.Add("quantise");
        command.Does((r, _) =>
        {
            QuantizeReport report = AdapterQuantization.Quantize(r.GetValue(adapter)!, r.GetValue(bits), r.GetValue(output)!);
            if (r.GetValue(common.Json))
            {
                Terminal.Json(new
                {
                    @out = r.GetValue(output),
                    bits = report.Bits,
                    values = report.Values,
                    bytes_before = report.BytesBefore,
                    bytes_after = report.BytesAfter,
                    largest_error = report.LargestError,
                    relative_error = report.RelativeError,
                });
                return 0;
            }
            Terminal.Say(
                $"{report.Values:N0} values at {report.Bits} bits: "
                + $"{report.BytesBefore / 1024.0:F1} KB → {report.BytesAfter / 1024.0:F1} KB; "
                + $"largest error {report.LargestError:G3}, relative error {report.RelativeError:G3}. Wrote {r.GetValue(output)}.");
            return 0;
        });
        return command;
    }
}
