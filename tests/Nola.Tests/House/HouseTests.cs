using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Xunit;

namespace Nola.Tests;

/// <summary>What the tree promises: dependencies only downwards, and files that can be read in one sitting.</summary>
public sealed class HouseTests
{
    private static readonly string[] floors = ["Nola.Tensors", "Nola.Autograd", "Nola.Models", "Nola.Train", "Nola.Serve", "nola"];

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
    public void Floors_of_the_models_know_only_those_below_them()
    {
        string[] order = ["Files", "Tokens", "Images", "Layers", "Adapters", "Families", "Decoding", "Serving"];
        string[] sources =
            [.. Sources().Where(file => file.Contains($"{Path.DirectorySeparatorChar}Nola.Models{Path.DirectorySeparatorChar}"))];
        Dictionary<string, int> floorOf = [];
        foreach (string file in sources)
            foreach (Match type in Regex.Matches(
                File.ReadAllText(file),
                @"^(?:public|internal) .*?\b(?:class|record struct|record|struct|interface|enum) (\w+)",
                RegexOptions.Multiline))
                floorOf[type.Groups[1].Value] = Floor(file);
        Assert.True(floorOf.Count > 60);
        foreach (string file in sources)
        {
            // What a comment or a text names is no dependency.
            string code = Regex.Replace(File.ReadAllText(file), """
                //.*|"(?:[^"\\\n]|\\.)*"
                """, "");
            string[] above = [.. Regex.Matches(code, @"\b[A-Z]\w+\b")
                .Select(m => m.Value)
                .Distinct()
                .Where(name => floorOf.TryGetValue(name, out int floor) && floor > Floor(file))];
            Assert.True(above.Length == 0, $"{file} knows {string.Join(", ", above)}");
        }

        int Floor(string file) => Array.IndexOf(order, Path.GetFileName(Path.GetDirectoryName(file))) is var floor and >= 0
            ? floor
            : throw new InvalidOperationException(file);
    }

    // A program can turn off that types are looked up by reflection where nobody says so; file-based programs do. The tool is a program
    // of its own.
    [Fact]
    public void Libraries_say_how_JSON_finds_types()
    {
        string[] users = [.. Sources().Where(file => !file.Contains("Nola.Cli") && File.ReadAllText(file).Contains("JsonSerializer."))];
        Assert.True(users.Length > 10);
        foreach (string file in users)
            Assert.Matches(@"\bJsonForms\.|\bRunRecord\.Format\b|\bJsonTypeInfo<|: JsonSerializerContext|, type\)", File.ReadAllText(file));
    }

    [Fact]
    public void ILGPU_is_named_only_by_files_for_the_GPU()
    {
        foreach (string file in Sources())
            if (File.ReadAllText(file).Contains("using ILGPU"))
                Assert.True(
                    file.EndsWith(".Gpu.cs") || file.Contains($"{Path.DirectorySeparatorChar}Gpu{Path.DirectorySeparatorChar}"), file);
    }

    [Fact]
    public void Kernels_for_the_GPU_stand_beside_their_contract_and_those_for_the_CPU()
    {
        string[] kernels =
            [.. Sources().Where(file => file.Contains($"{Path.DirectorySeparatorChar}Kernels{Path.DirectorySeparatorChar}"))];
        foreach (string cpu in kernels.Where(file => file.EndsWith(".Cpu.cs")))
        {
            Assert.Contains(cpu.Replace(".Cpu.cs", ".Gpu.cs"), kernels);
            Assert.Contains(cpu.Replace(".Cpu.cs", ".cs"), kernels);
        }
    }

    // The tool adds its own names for the options that a message advises to change.
    [Fact]
    public void Texts_of_the_library_name_no_flag_and_no_command_of_the_tool()
    {
        foreach (string file in Sources()
            .Where(file => !file.Contains($"{Path.DirectorySeparatorChar}Nola.Cli{Path.DirectorySeparatorChar}")))
            foreach (string line in File.ReadLines(file).Where(line => !line.TrimStart().StartsWith("//")))
                Assert.False(Regex.IsMatch(line, @""".*(?<![\w-])(--[a-z]|'nola [a-z]).*"""), $"{file}: {line}");
    }

    [Fact]
    public void No_source_file_is_longer_than_five_hundred_lines() =>
        Assert.All(Sources(), file => Assert.True(File.ReadLines(file).Count() <= 500, file));

    [Fact]
    public void Lines_fit_in_140_columns_without_tabs_and_trailing_blanks()
    {
        const int Widest = 140;
        string[] folders = ["src", "tests", "bench", "samples"];
        foreach (string file in folders.SelectMany(FilesBelow))
        {
            int number = 0;
            foreach (string line in File.ReadLines(file))
            {
                number++;
                Assert.True(line.Length <= Widest, $"{file}:{number} has {line.Length} columns; at most {Widest} fit.");
                Assert.False(line.Contains('\t') || line.EndsWith(' '), $"{file}:{number} has a tab, or a blank at its end.");
            }
        }
    }

    // A NOTICE.md stands beside what a project embeds of others.
    [Fact]
    public void Packages_with_work_of_others_do_not_say_that_they_are_MIT_alone()
    {
        string[] notices = [.. Directory.EnumerateFiles(Path.Combine(Root(), "src"), "NOTICE.md", SearchOption.AllDirectories)];
        Assert.NotEmpty(notices);
        string packed = File.ReadAllText(Path.Combine(Root(), "NOTICE.md"));
        Assert.All(notices, file => Assert.Contains(
            $"`{Path.GetRelativePath(Root(), Path.GetDirectoryName(file)!).Replace(Path.DirectorySeparatorChar, '/')}`", packed));
        string[] embedding = [.. notices.Select(file => Path.GetRelativePath(Path.Combine(Root(), "src"), file))
            .Select(file => file.Split(Path.DirectorySeparatorChar)[0])
            .Append("Nola.Cli")
            .Distinct()];
        foreach (string project in floors[..^1].Append("Nola.Extensions.AI").Append("Nola.Cli"))
        {
            XElement file = XElement.Load(Path.Combine(Root(), "src", project, $"{project}.csproj"));
            string license = Assert.Single(file.Descendants(), e => e.Name.LocalName.StartsWith("PackageLicense")).Value;
            Assert.Equal(!embedding.Contains(project), license == "MIT");
        }
    }

    private static string[] Sources() => FilesBelow("src");

    // What a build writes is not ours.
    private static string[] FilesBelow(string folder)
    {
        string[] files = [.. Directory.EnumerateFiles(Path.Combine(Root(), folder), "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Split(Path.DirectorySeparatorChar).Any(part => part is "bin" or "obj"))];
        Assert.NotEmpty(files);
        return files;
    }

    private static string Root([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", "..", ".."));
}
