using FsCheck.Xunit;

namespace Nola.Tests;

/// <summary>A property that every device is held to. How often it is drawn depends on what runs it.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ContractAttribute : PropertyAttribute
{
    /// <summary>A property drawn <paramref name="runs"/> times, on a simulated device fewer.</summary>
    public ContractAttribute(int runs) => MaxTest = ContractRuns.Of(runs);
}
