namespace Nola.Tests;

/// <summary>How often properties are drawn on the CPU, and how many of their sizes: all that they ask for.</summary>
internal static class ContractRuns
{
    public static int Of(int runs) => runs;

    public static int Sizes(int count) => count;
}
