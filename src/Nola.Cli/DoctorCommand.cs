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
        Command command = new("doctor", "Check this machine: runtime, devices with the reason where one is refused, and the model cache.") { common.Json };
        command.Does((r, _) =>
        {
            IReadOnlyList<DeviceInfo> devices = DeviceInfo.List();
            string version = typeof(Device).Assembly.GetName().Version!.ToString(3), system = $"{RuntimeInformation.OSDescription} ({RuntimeInformation.ProcessArchitecture})";
            string cache = ModelLocator.Current.Cache;
            int models = ModelLocator.Current.List().Count(m => m.Problem is null);
            if (r.GetValue(common.Json))
            {
                Terminal.Json(new { version, runtime = RuntimeInformation.FrameworkDescription, system, devices = devices.Select(DevicesCommand.Describe), cache, models });
                return 0;
            }
            Console.Out.WriteLine($"nola     {version} on {RuntimeInformation.FrameworkDescription}, {system}");
            foreach (DeviceInfo device in devices) Console.Out.WriteLine(DevicesCommand.Line(device));
            Console.Out.WriteLine($"models   {models} usable in {cache}, and the embedded {Gpt2.EmbeddedName}");
            return 0;
        });
        return command;
    }
}
