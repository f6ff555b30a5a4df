using System.Text.Json;
using Nola.Cli;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary><c>nola inspect</c> for people.</summary>
public sealed class InspectCommandTests
{
    [Fact]
    public void Facts_are_aligned_and_lists_are_tables()
    {
        JsonElement facts = JsonSerializer.SerializeToElement(new
        {
            path = "a\u0007b",
            none = (string?)null,
            metadata = new { format = "nola-adapter/1", rank = "8" },
            empty = Array.Empty<object>(),
            kinds = new[] { "q", "v" },
            tensors = new[]
            {
                new { name = "a", dtype = "F32", shape = new[] { 3L, 40 } },
                new { name = "longer", dtype = "BF16", shape = new[] { 7L } },
            },
            files = new[]
            {
                new { path = "x", tensors = new[] { new { name = "t", scale = 0.5 } } },
                new { path = "y", tensors = new[] { new { name = "u", scale = 1.0 } } },
            },
        });
        string[] wanted =
        [
            "path   a\\u0007b",
            "none   none",
            "kinds  q, v",
            "",
            "metadata",
            "  format  nola-adapter/1",
            "  rank    8",
            "",
            "tensors",
            "  name    dtype  shape",
            "  a       F32    3 × 40",
            "  longer  BF16   7",
            "",
            "files",
            "  path  x",
            "",
            "  tensors",
            "    name  scale",
            "    t     0.5",
            "",
            "  path  y",
            "",
            "  tensors",
            "    name  scale",
            "    u     1",
        ];
        Assert.Equal(wanted, FactsView.Lines(facts));
    }

    [Fact]
    public void People_read_tables_and_programs_JSON()
    {
        string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
        try
        {
            string file = Path.Combine(directory, "adapter.safetensors"), peft = Path.Combine(directory, "peft");
            using (CpuDevice device = new(1))
            using (LanguageModel model = LanguageModel.Load(TinyModels.Golden, device))
            using (TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 4, Alpha = 4, Bases = 16 }))
            {
                AdapterFile.Save(adapter, file);
                PeftFiles.Save(adapter, peft);
            }
            foreach (string path in (string[])[file, peft, TinyModels.Golden, LanguageModel.EmbeddedName])
            {
                string[] lines = Tool.Lines("inspect", path);
                Assert.DoesNotContain(lines, line => line.Contains('{') || line.Contains('['));
                JsonElement json = Assert.Single(Tool.Json("inspect", path));
                string kind = Assert.Single(lines, line => line.StartsWith("kind ", StringComparison.Ordinal));
                Assert.EndsWith("  " + json.GetProperty("kind").GetString(), kind);
            }
            Assert.Contains(
                Tool.Lines("inspect", file),
                line => string.Join(' ', line.Split(' ', StringSplitOptions.RemoveEmptyEntries)) == "name dtype shape");
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void A_broken_configuration_of_an_adapter_is_a_sentence()
    {
        string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
        try
        {
            File.WriteAllText(Path.Combine(directory, "adapter_config.json"), """{"r": "\ud83d"}""");
            Assert.Contains("adapter_config.json: not valid JSON (a string has half of a character", Tool.Fails(1, "inspect", directory));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }
}
