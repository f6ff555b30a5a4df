using System.Reflection;
using System.Runtime.CompilerServices;
using Xunit;

namespace Nola.Tests;

/// <summary>What the tree promises: dependencies only downwards, and files that can be read in one sitting.</summary>
public sealed class HouseTests
{
    private static readonly string[] floors = ["Nola.Tensors", "Nola.Autograd", "Nola.Models", "Nola.Train", "nola"];

    [Fact]
    public void Dependencies_go_only_downwards()
    {
        for (int i = 0; i < floors.Length; i++)
        {
            string[] references = [.. Assembly.Load(floors[i]).GetReferencedAssemblies().Select(a => a.Name!)];
            Assert.DoesNotContain(references, name => Array.IndexOf(floors, name) >= i);
        }
    }

    [Fact]
    public void ILGPU_is_named_only_by_files_for_the_GPU()
    {
        foreach (string file in Sources())
            if (File.ReadAllText(file).Contains("using ILGPU"))
                Assert.True(file.EndsWith(".Gpu.cs") || file.Contains($"{Path.DirectorySeparatorChar}Gpu{Path.DirectorySeparatorChar}"), file);
    }

    [Fact]
    public void Kernels_for_the_GPU_stand_beside_their_contract_and_those_for_the_CPU()
    {
        string[] kernels = [.. Sources().Where(file => file.Contains($"{Path.DirectorySeparatorChar}Kernels{Path.DirectorySeparatorChar}"))];
        foreach (string cpu in kernels.Where(file => file.EndsWith(".Cpu.cs")))
        {
            Assert.Contains(cpu.Replace(".Cpu.cs", ".Gpu.cs"), kernels);
            Assert.Contains(cpu.Replace(".Cpu.cs", ".cs"), kernels);
        }
    }

    [Fact]
    public void No_source_file_is_longer_than_five_hundred_lines() =>
        Assert.All(Sources(), file => Assert.True(File.ReadLines(file).Count() <= 500, file));

    private static IEnumerable<string> Sources([CallerFilePath] string here = "")
    {
        string root = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "..", "src"));
        string[] files = [.. Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories).Where(f => !f.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}"))];
        Assert.True(files.Length > 50);
        return files;
    }
}
