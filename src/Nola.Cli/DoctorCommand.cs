using System.CommandLine;
using System.Runtime.InteropServices;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola doctor</c>: everything about this machine that a report of a problem should say.</summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Command command = new("doctor", "Check this machine: runtime, devices with the reason if one is refused, and the model cache.")
        {
            common.Json,
        };
        command.Does((r, _) =>
        {
            IReadOnlyList<DeviceInfo> devices = DeviceInfo.List();
            string version = typeof(Device).Assembly.GetName().Version!.ToString(3);
            string system = $"{RuntimeInformation.OSDescription} ({RuntimeInformation.ProcessArchitecture})";
            string cache = ModelLocator.Current.Cache;
            string? library = CardCheck.Library;
            (string Name, IReadOnlyList<(string Part, string Result)> Lines)[] cards =
                [.. devices.Where(d => d.Works && d.Name != "cpu").Select(d => (d.Name, CardCheck.Run(d.Name)))];
            int models = ModelCatalog.List().Count(m => m.Problem is null);
            if (r.GetValue(common.Json))
            {
                var checks = cards.Select(c => new { name = c.Name, checks = c.Lines.ToDictionary(l => l.Part, l => l.Result) });
                Terminal.Json(new
                {
                    version,
                    runtime = RuntimeInformation.FrameworkDescription,
                    system,
                    devices = devices.Select(DevicesCommand.Describe),
                    driver = library,
                    cards = checks,
                    cache,
                    models,
                });
                return 0;
            }
            Console.Out.WriteLine($"nola     {version} on {RuntimeInformation.FrameworkDescription}, {system}");
            foreach (DeviceInfo device in devices) Console.Out.WriteLine(DevicesCommand.Line(device));
            if (library is not null) Console.Out.WriteLine($"driver   {library}");
            foreach ((string name, IReadOnlyList<(string Part, string Result)> lines) in cards)
                foreach ((string part, string result) in lines) Console.Out.WriteLine($"{name,-8} {part,-8} {result}");
            Console.Out.WriteLine(
                $"models   {models} usable in {cache}, and the embedded {LanguageModel.EmbeddedName} and {VisionModel.EmbeddedName}");
            return 0;
        });
        return command;
    }
}
