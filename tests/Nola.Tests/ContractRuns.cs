namespace Nola.Tests;

/// <summary>How often properties are drawn on the CPU: as often as they ask for.</summary>
internal static class ContractRuns
{
    public static int Of(int runs) => runs;
}
