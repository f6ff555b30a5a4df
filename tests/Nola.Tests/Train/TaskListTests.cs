using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Lists of tasks to be trained in one job.</summary>
public sealed class TaskListTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-tasks").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void A_directory_has_a_task_for_each_file_with_what_it_is_evaluated_on_beside_it()
    {
        foreach (string name in (string[])["b.csv", "b.valid.jsonl", "a.jsonl.gz", ".hidden", "c v1.0.csv"]) Write(name, "");
        Assert.Equal(
            [
                new TaskFiles("a", Place("a.jsonl.gz"), ""), new TaskFiles("b", Place("b.csv"), Place("b.valid.jsonl")),
                new TaskFiles("c v1.0", Place("c v1.0.csv"), ""),
            ],
            TaskList.Read(directory));
        Write("b.valid.csv", "");
        Assert.Contains("two files of validation pairs for 'b'", Refused(directory));
        Write("b.jsonl", "");
        File.Delete(Place("b.valid.csv"));
        Assert.Contains("the name 'b' is that of", Refused(directory));
    }

    [Fact]
    public void A_manifest_has_a_task_for_each_line_with_files_relative_to_it()
    {
        string manifest = Write("tasks.jsonl", """
            {"name": "one", "data": "x/one.csv"}

            {"name": "two", "data": "/data/two.csv", "valid": "two.csv"}
            """);
        Assert.Equal(
            [new TaskFiles("one", Place("x/one.csv"), ""), new TaskFiles("two", "/data/two.csv", Place("two.csv"))],
            TaskList.Read(manifest));
        Assert.Contains(
            ":2: the name 'ONE' is that of",
            RefusedManifest("{\"name\": \"one\", \"data\": \"a\"}\n{\"name\": \"ONE\", \"data\": \"b\"}"));
        Assert.Contains(":1: no \"data\"", RefusedManifest("{\"name\": \"one\"}"));
        Assert.Contains("'epochs' is not known", RefusedManifest("{\"name\": \"one\", \"data\": \"a\", \"epochs\": 1}"));
        Assert.Contains("expected one JSON object", RefusedManifest("[]"));
        Assert.Contains("not valid JSON", RefusedManifest("{"));
        Assert.Contains("; expected text", RefusedManifest("{\"name\": 1, \"data\": \"a\"}"));
        Assert.Contains("no task in it", RefusedManifest(""));
        // A name becomes that of a directory.
        foreach (string name in (string[])["", "..", "a/b", "a\\\\b", " a", "a.", "C:", new string('x', 101)])
            Assert.Contains("name of a directory", RefusedManifest($"{{\"name\": \"{name}\", \"data\": \"a\"}}"));
        Assert.Contains("nowhere", Refused(Place("nowhere")));
    }

    private string RefusedManifest(string text) => Refused(Write("bad.jsonl", text));

    private static string Refused(string path) => Assert.Throws<NolaException>(() => TaskList.Read(path)).Message;

    private string Place(string name) => Path.Combine(directory, name);

    private string Write(string name, string text)
    {
        File.WriteAllText(Place(name), text);
        return Place(name);
    }
}
