using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Nola.GpuBench;

/// <summary>What was found, for people (Markdown) and for programs (JSON), and on the console as it comes.</summary>
/// <param name="name">Of the files, without their ends.</param>
internal sealed class Report(string name)
{
    private static readonly JsonSerializerOptions json = new()
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private readonly StringBuilder text = new("# GPU bench\n\n");
    private readonly List<object> rows = [];

    /// <summary>What was measured, on what; the peer does the same work.</summary>
    public object? Setting { get; set; }

    /// <summary>The bars, when they are measured.</summary>
    public Bars? Bars { get; set; }

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
        Cells(cells);
        rows.Add(facts);
    }

    /// <summary>A row of the table for people alone.</summary>
    public void Cells(params string[] cells)
    {
        Console.WriteLine("  " + string.Join("  ", cells));
        text.Append($"| {string.Join(" | ", cells)} |\n");
    }

    /// <summary>An object with the setting, the rows in order, and the bars.</summary>
    public string ToJson() => JsonSerializer.Serialize(
        new
        {
            setting = Setting,
            rows,
            bars = Bars?.All.Select(b => new
            {
                number = b.Number,
                key = b.Key,
                work = b.Work,
                value = b.Value,
                limit = b.Limit,
                at_least = b.AtLeast,
                unit = b.Unit,
                passed = b.Passed,
                missing = b.Value is null ? b.Missing : null,
                note = b.Note,
            }),
        },
        json) + "\n";

    /// <summary>Writes NAME.md and NAME.json, or writes them anew.</summary>
    public void Write()
    {
        File.WriteAllText(name + ".md", text.ToString());
        File.WriteAllText(name + ".json", ToJson());
    }
}
