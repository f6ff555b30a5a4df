using ILGPU.Runtime;

namespace Nola.Tensors;

/// <summary>
/// Giving things back to a driver. Once a kernel has failed, every later call to the driver fails with the same error, so what
/// is thrown while things are given back would only hide the exception that said where it began.
/// </summary>
internal static class Quietly
{
    /// <summary>Disposes, whatever the driver says.</summary>
    public static void Dispose(IDisposable? thing) => Do(() => thing?.Dispose());

    /// <summary>Does something that gives back, whatever the driver says.</summary>
    public static void Do(Action action)
    {
        try
        {
            action();
        }
        catch (AcceleratorException)
        {
        }
    }
}
