using System.CommandLine;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola devices</c>: what <c>--device</c> can be, and why something cannot.</summary>
internal static class DevicesCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Command command = new("devices", "List the CPU and the GPUs, each opened and tested, with the reason if one is refused.")
        {
            common.Json,
        };
        command.Does((r, _) =>
        {
            IReadOnlyList<DeviceInfo> devices = DeviceInfo.List();
            if (r.GetValue(common.Json)) Terminal.Json(new { devices = devices.Select(Describe) });
            else foreach (DeviceInfo device in devices) Console.Out.WriteLine(Line(device));
            return 0;
        });
        return command;
    }

    internal static object Describe(DeviceInfo device) =>
        new { name = device.Name, works = device.Works, description = device.Description, detail = device.Detail };

    internal static string Line(DeviceInfo device) =>
        $"{device.Name,-8} {(device.Works ? "works" : "refused"),-8} {(device.Description is { } what ? what + "; " : "")}{device.Detail}";
}
