using System.Globalization;
using System.Text;

namespace Nola.Cuda.Emulator;

/// <summary>What ran, from the files that drivers wrote when their processes ended.</summary>
public static class Report
{
    /// <summary>How many of the library's kernels ran, those that did not, and what each cost.</summary>
    public static string Of(IEnumerable<string> files)
    {
        SortedDictionary<string, long[]> kernels = new(StringComparer.Ordinal);
        Dictionary<string, long> notes = [];
        foreach (string line in files.SelectMany(File.ReadLines)) Add(line, kernels, notes);
        string[] all = [.. Tensors.KernelCache.All().Select(Tensors.KernelCache.NameOf).Order(StringComparer.Ordinal)];
        string[] missing = [.. all.Except(kernels.Keys)];
        StringBuilder text = new();
        text.AppendLine("| kernel | launches | blocks | threads | "
            + string.Join(" | ", Enum.GetNames<Cost>().Select(n => n.ToLowerInvariant())) + " |");
        text.AppendLine("|---|" + string.Concat(Enumerable.Repeat("---:|", 3 + Enum.GetValues<Cost>().Length)));
        foreach ((string name, long[] numbers) in kernels)
            text.AppendLine($"| {name} | {string.Join(" | ", numbers.Select(n => n.ToString(CultureInfo.InvariantCulture)))} |");
        foreach ((string what, long number) in notes) text.AppendLine(CultureInfo.InvariantCulture, $"{number} {what}");
        if (missing.Length > 0) text.AppendLine("not executed: " + string.Join(", ", missing));
        text.AppendLine(CultureInfo.InvariantCulture, $"{all.Length - missing.Length} of {all.Length} kernels executed");
        return text.ToString();
    }

    private static void Add(string line, SortedDictionary<string, long[]> kernels, Dictionary<string, long> notes)
    {
        string[] fields = line.Split('\t');
        if (fields[0] == "#")
        {
            notes[fields[2]] = notes.GetValueOrDefault(fields[2]) + long.Parse(fields[1], CultureInfo.InvariantCulture);
            return;
        }
        long[] numbers = [.. fields[1..].Select(f => long.Parse(f, CultureInfo.InvariantCulture))];
        kernels[fields[0]] = kernels.TryGetValue(fields[0], out long[]? before) ? [.. before.Zip(numbers, (a, b) => a + b)] : numbers;
    }
}
