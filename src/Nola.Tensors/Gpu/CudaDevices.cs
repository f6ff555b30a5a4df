using System.Globalization;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace Nola.Tensors;

/// <summary>Opens CUDA devices, and says why one cannot be opened.</summary>
internal static class CudaDevices
{
    /// <summary>
    /// Device <c>cuda</c> or <c>cuda:n</c>, after its self-test;
    /// with <c>,float32</c> without tensor cores, with <c>,tf32</c> with less rounding.
    /// </summary>
    /// <exception cref="NolaException">There is none, or it does not work; the message says why.</exception>
    public static GpuDevice Open(string name)
    {
        int comma = name.IndexOf(','), index = 0;
        string place = comma < 0 ? name : name[..comma];
        Products? products = comma < 0
            ? Products.BFloat16
            : name[comma..] switch { ",float32" => Products.Float32, ",tf32" => Products.Tf32, _ => null };
        if (products is null
            || place != "cuda" && (!place.StartsWith("cuda:", StringComparison.Ordinal)
                || !int.TryParse(place.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out index)))
            throw new NolaException(
                $"Device '{name}' is not known; use auto, cpu, cuda or cuda:1; cpu also with ,bfloat16, the others ,float32 or ,tf32.");
        CudaFindings found = CudaDriver.Look();
        if (found.Problem is { } problem) throw Refused(name, problem);
        if (index >= found.Cards.Count)
            throw Refused(name, found.Cards.Count == 1 ? "there is only cuda:0" : $"there are only cuda:0 … cuda:{found.Cards.Count - 1}");
        return Open(found.Cards[index], found.Version, products.Value);
    }

    /// <summary>Opens and tests a card that the driver lists.</summary>
    /// <exception cref="NolaException">It does not work; the message says why.</exception>
    public static GpuDevice Open(CudaCard card, string? version, Products products = Products.BFloat16)
    {
        string name = $"cuda:{card.Index}";
        if (card.Major < 8)
        {
            if (products == Products.Tf32)
                throw Refused(name, $"tf32 needs compute capability 8.0, and {card.Name} has {card.Major}.{card.Minor}");
            products = Products.Float32;
        }
        GpuDevice device;
        try
        {
            device = Create(card, version, name, products);
        }
        catch (Exception error) when (error is not NolaException)
        {
            throw Refused(name, $"{card.Name} could not be opened: {error.Message}");
        }
        try
        {
            device.Remarks = SelfTest.Run(device);
            return device;
        }
        catch (Exception error)
        {
            device.Dispose();
            throw Refused(name, $"{card.Name} failed its self-test: {error.Message}");
        }
    }

    private static GpuDevice Create(CudaCard card, string? version, string name, Products products)
    {
        CudaDriver.Share();
        Context context = GpuDevice.NewContext(_ => { });
        try
        {
            CudaDevice device = Describe(card.Index);
            Accelerator accelerator = device.CreateAccelerator(context);
            string how = products switch
            {
                Products.BFloat16 => "bfloat16 products on tensor cores",
                Products.Tf32 => "TF32 products on tensor cores",
                _ => "float32 products",
            };
            return new GpuDevice(
                context, accelerator, name, $"{name}, {card.Description}, {how}, driver for CUDA {version ?? "unknown"}", products);
        }
        catch
        {
            context.Dispose();
            throw;
        }
    }

    // Not through a context's list of devices: that one forgets what describing a card threw, ends at the first that cannot be
    // described, and, under WSL, sets a resolver of its own for every context, of which .NET allows one.
    [UnsafeAccessor(UnsafeAccessorKind.Constructor)]
    private static extern CudaDevice Describe(int index);

    private static NolaException Refused(string name, string reason) =>
        new($"Device '{name}': {reason}. Use the device cpu or auto.") { Options = ["Device"] };
}
