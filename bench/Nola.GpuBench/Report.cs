using System.Text;
using System.Text.Json;

namespace Nola.GpuBench;

/// <summary>What was found, for people (Markdown) and for programs (JSON), and on the console as it comes.</summary>
internal sealed class Report
{
    private readonly StringBuilder text = new("# GPU bench\n\n");
    private readonly List<object> rows = [];

    /// <summary>A sentence.</summary>
    public void Line(string line)
    {
        Console.WriteLine(line);
        text.Append(line).Append("\n\n");
    }

    /// <summary>Begins a table.</summary>
    public void Table(string title, params string[] columns)
    {
        Console.WriteLine(title);
        text.Append($"## {title}\n\n| {string.Join(" | ", columns)} |\n|{string.Concat(columns.Select(_ => "---|"))}\n");
    }

    /// <summary>A row of the table: its cells, and the same as an object.</summary>
    public void Row(object facts, params string[] cells)
    {
        Console.WriteLine("  " + string.Join("  ", cells));
        text.Append($"| {string.Join(" | ", cells)} |\n");
        rows.Add(facts);
    }

    /// <summary>Writes NAME.md and NAME.json.</summary>
    public void Write(string name)
    {
        File.WriteAllText(name + ".md", text.ToString());
        File.WriteAllText(name + ".json", JsonSerializer.Serialize(rows, new JsonSerializerOptions { WriteIndented = true }) + "\n");
    }
}
