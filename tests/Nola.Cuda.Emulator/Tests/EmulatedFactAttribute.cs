using Xunit;

// One driver, whose settings tests change.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace Nola.Cuda.Emulator.Tests;

/// <summary>A test that runs kernels on the emulator, or says that it did not.</summary>
public sealed class EmulatedFactAttribute : FactAttribute
{
    /// <summary>Skips the test where nothing can be compiled.</summary>
    public EmulatedFactAttribute()
    {
        if (!DriverBuild.IsPossible) Skip = DriverBuild.Missing;
    }
}

/// <summary>The same for each of several cases.</summary>
public sealed class EmulatedTheoryAttribute : TheoryAttribute
{
    /// <summary>Skips the test where nothing can be compiled.</summary>
    public EmulatedTheoryAttribute()
    {
        if (!DriverBuild.IsPossible) Skip = DriverBuild.Missing;
    }
}
