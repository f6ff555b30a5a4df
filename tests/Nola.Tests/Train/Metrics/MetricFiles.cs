using System.IO.Compression;
using System.Text.Json;
using Nola.Train.Metrics;

namespace Nola.Tests;

/// <summary>System outputs, references and what the original tools made of them.</summary>
internal static class MetricFiles
{
    public static readonly string Directory = Path.Combine(AppContext.BaseDirectory, "data", "golden", "metrics");

    public static readonly string WordNet = At("wordnet-excerpt");

    public static readonly string[] WebNlgReferences = [.. Enumerable.Range(0, 6).Select(i => At($"webnlg-unseen-ref{i}.txt.gz"))];

    public static string At(string name) => Path.Combine(Directory, name);

    public static Corpus E2E(string system) => Corpus.Read([At("e2e-refs.txt.gz")], At($"e2e-sys-{system}.txt.gz"));

    public static Corpus WebNlg() => Corpus.Read(WebNlgReferences, At("webnlg-unseen-sys-triples.txt.gz"));

    public static JsonElement Scores(string section, string system)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(At("scores.json")));
        return document.RootElement
            .EnumerateObject()
            .Single(p => p.Name.StartsWith(section, StringComparison.Ordinal)).Value
            .EnumerateObject()
            .Single(p => p.Name.StartsWith(system, StringComparison.Ordinal)).Value
            .Clone();
    }

    public static string Text(string name)
    {
        using StreamReader reader = new(new GZipStream(File.OpenRead(At(name)), CompressionMode.Decompress));
        return reader.ReadToEnd();
    }

    /// <summary>Lines of two columns: what goes in, and what another program made of it.</summary>
    public static (string Input, string Output)[] Columns(string name) =>
        [.. Text(name).TrimEnd('\n').Split('\n').Select(line => line.Split('\t')).Select(columns => (columns[0], columns[1]))];
}
