namespace Nola.Train.Metrics;

/// <summary>METEOR's small word lists, which are embedded (see their NOTICE.md).</summary>
internal static class MeteorData
{
    public static IEnumerable<string> Lines(string name)
    {
        using StreamReader reader = new(typeof(MeteorData).Assembly.GetManifestResourceStream("meteor/" + name)!);
        List<string> lines = [];
        while (reader.ReadLine() is { } line)
            if (line.Length > 0) lines.Add(line);
        return lines;
    }
}
