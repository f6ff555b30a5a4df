using System.Globalization;
using System.Reflection;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace Nola.Tensors;

/// <summary>Opens CUDA devices, and says why one cannot be opened.</summary>
internal static class CudaDevices
{
    /// <summary>What, added to a device's name, keeps products in float32.</summary>
    private const string Float32 = ",float32";

    /// <summary>Device <c>cuda</c> or <c>cuda:n</c>, after its self-test; with <c>,float32</c> without tensor cores.</summary>
    /// <exception cref="NolaException">There is none, or it does not work; the message says why.</exception>
    public static GpuDevice Open(string name)
    {
        string place = name.EndsWith(Float32, StringComparison.Ordinal) ? name[..^Float32.Length] : name;
        int index = 0;
        if (place != "cuda" && (!place.StartsWith("cuda:", StringComparison.Ordinal) || !int.TryParse(place.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out index)))
            throw new NolaException($"Device '{name}' is not known; use auto, cpu, cuda or cuda:1, the last two also with {Float32}.");
        CudaFindings found = CudaDriver.Look();
        if (found.Problem is { } problem) throw Refused(name, problem);
        if (index >= found.Cards.Count)
            throw Refused(name, found.Cards.Count == 1 ? "there is only cuda:0" : $"there are only cuda:0 … cuda:{found.Cards.Count - 1}");
        return Open(found.Cards[index], found.Version, place == name);
    }

    /// <summary>Opens and tests a card that the driver lists.</summary>
    /// <exception cref="NolaException">It does not work; the message says why.</exception>
    public static GpuDevice Open(CudaCard card, string? version, bool tensorCores = true)
    {
        string name = $"cuda:{card.Index}";
        GpuDevice device;
        try
        {
            device = Create(card, version, name, tensorCores && card.Major >= 8);
        }
        catch (Exception error) when (error is not NolaException)
        {
            throw Refused(name, $"{card.Name} could not be opened: {error.Message}");
        }
        try
        {
            SelfTest.Run(device);
            return device;
        }
        catch (Exception error)
        {
            device.Dispose();
            throw Refused(name, $"{card.Name} failed its self-test: {error.Message}");
        }
    }

    private static GpuDevice Create(CudaCard card, string? version, string name, bool tensorCores)
    {
        Context context = GpuDevice.NewContext(builder => builder.Cuda(d => d.DeviceId == card.Index));
        try
        {
            CudaDevice device = context.GetCudaDevices().Count > 0
                ? context.GetCudaDevice(0)
                : throw Refused(name, $"ILGPU does not list {card.Name}: {WhyNotListed(card.Index)}");
            Accelerator accelerator = device.CreateAccelerator(context);
            string products = tensorCores ? "bfloat16 products on tensor cores" : "float32 products";
            return new GpuDevice(context, accelerator, name, $"{name}, {card.Description}, {products}, driver for CUDA {version ?? "unknown"}", tensorCores);
        }
        catch
        {
            context.Dispose();
            throw;
        }
    }

    // Listing constructs each device and forgets what the constructor threw; here it is constructed once more for that.
    private static string WhyNotListed(int index)
    {
        try
        {
            Activator.CreateInstance(typeof(CudaDevice), BindingFlags.Instance | BindingFlags.NonPublic, null, [index], null);
            return "no reason was given";
        }
        catch (TargetInvocationException error) when (error.InnerException is { } inner)
        {
            return inner.Message;
        }
        catch (MissingMethodException)
        {
            return "no reason was given";
        }
    }

    private static NolaException Refused(string name, string reason) =>
        new($"Device '{name}': {reason}. Use --device cpu or auto; 'nola devices' shows what was found.");
}
