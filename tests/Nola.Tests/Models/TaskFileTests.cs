using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Adapters of several tasks in one file: each is what it was alone, to the bit.</summary>
public sealed class TaskFileTests : IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly LanguageModel model;

    public TaskFileTests() => model = LanguageModel.Load(TinyModels.Golden, device);

    public void Dispose()
    {
        model.Dispose();
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Theory]
    [InlineData("nola")]
    [InlineData("packed")]
    [InlineData("lora")]
    [InlineData("vera")]
    public void Each_task_is_its_own_file_to_the_bit(string kind)
    {
        string[] names = ["restaurants", "a/b", "Zürich: hotels"];
        string[] files = [.. names.Select((_, i) => Adapter(kind, i))];
        string joint = Path.Combine(directory, "tasks.safetensors");
        TaskFile.Join([.. names.Zip(files)], joint);

        Assert.Equal(names, TaskFile.Tasks(joint));
        Assert.Null(TaskFile.Tasks(files[0]));
        for (int i = 0; i < names.Length; i++)
        {
            using LoadedAdapter alone = AdapterFile.Load(files[i], model), one = AdapterFile.Load($"{joint}:{names[i]}", model);
            Assert.Equal(alone.Digest, one.Digest);
            Assert.Equal(model.Logits([1, 2, 3], alone).ToArray(), model.Logits([1, 2, 3], one).ToArray());
        }
    }

    [Fact]
    public void A_task_costs_its_values_and_its_name()
    {
        string[] files = [.. Enumerable.Range(0, 40).Select(i => Adapter("nola", i))];
        long few = Size(10), many = Size(40);
        // A name is "tNN" with a comma, its quotes being \u0022 in the header; which has some longer numbers, and is padded to 8 bytes.
        long values = 30 * 4 * Values(files[0]);
        Assert.InRange(many - few - values, 30 * 16, 30 * 16 + 64);

        long Size(int count)
        {
            string joint = Path.Combine(directory, $"{count}.safetensors");
            TaskFile.Join([.. files.Take(count).Select((file, i) => ($"t{i:00}", file))], joint);
            return new FileInfo(joint).Length;
        }
    }

    [Fact]
    public void What_does_not_belong_together_is_refused_by_name()
    {
        string first = Adapter("nola", 0), joint = Path.Combine(directory, "joint.safetensors");
        Refused("its seed is '99' and that of", ("a", first), ("b", Adapter("seed", 1)));
        Refused("its rank is '3' and that of", ("a", first), ("b", Adapter("rank", 2)));
        Refused("its bits is '4' and that of", ("a", first), ("b", Adapter("packed", 3)));
        Refused("its method is 'lora' and that of", ("a", first), ("b", Adapter("lora", 4)));
        Refused("would both be called 'a'", ("a", first), ("a", Adapter("nola", 5)));
        Refused("'..' cannot be the name of an adapter", ("..", first));
        Refused("there is no such adapter", ("a", first + "x"));
        Refused("There is no adapter to be joined");
        Assert.False(File.Exists(joint));

        TaskFile.Join([("a", first), ("b", Adapter("nola", 6))], joint);
        Fails($"{joint}: holds the adapters of 2 tasks (a, b); name one, as in {joint}:a.", joint);
        Fails($"{joint}: has no task 'c'; it has 2 (a, b).", joint + ":c");
        Fails($"{first}:a: {first} is the adapter of one task; give it without ':a'.", first + ":a");
        Refused("exists already", ("a", first));

        void Refused(string expected, params (string, string)[] adapters) =>
            Assert.Contains(expected, Assert.Throws<NolaException>(() => TaskFile.Join(adapters, joint)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[]", "its tasks are no list of different names")]
    [InlineData("[\"a\",\"a\"]", "its tasks are no list of different names")]
    [InlineData("[1,2]", "its tasks are no list of different names")]
    [InlineData("{", "its tasks")]
    [InlineData("[\"a\"]", "expected F32 or U8 and the values of 1 tasks")]
    [InlineData("[\"a\",\"b\",\"c\"]", "expected F32 or U8 and the values of 3 tasks")]
    public void Tasks_that_the_tensors_do_not_have_are_refused(string tasks, string expected)
    {
        string joint = Path.Combine(directory, "joint.safetensors"), damaged = Path.Combine(directory, "damaged.safetensors");
        TaskFile.Join([("a", Adapter("nola", 0)), ("b", Adapter("nola", 1))], joint);
        AdapterFiles.Change(joint, damaged, metadata => metadata["tasks"] = tasks);
        Assert.Contains(
            expected, Assert.Throws<NolaException>(() => AdapterFile.Load(damaged + ":a", model)).Message, StringComparison.Ordinal);
    }

    private void Fails(string expected, string path) =>
        Assert.Equal(expected, Assert.Throws<NolaException>(() => AdapterFile.Load(path, model)).Message);

    private static long Values(string path)
    {
        using Safetensors file = Safetensors.Open(path);
        return file.Entries.Sum(entry => entry.Length);
    }

    private string Adapter(string kind, int number)
    {
        NolaOptions nola = new() { Rank = 2, Bases = 6, Targets = ["q", "mlp.*"] };
        AdapterOptions options = kind switch
        {
            "lora" => new LoraOptions { Rank = 2, Bias = LoraBias.All },
            "vera" => new VeraOptions { Rank = 4 },
            "seed" => nola with { Seed = 99 },
            "rank" => nola with { Rank = 3 },
            _ => nola,
        };
        string path = Path.Combine(directory, $"{kind}-{number}.safetensors");
        using TrainableAdapter adapter = model.NewAdapter(options);
        TinyModels.Randomize(adapter, new Random(number));
        AdapterFile.Save(adapter, path);
        if (kind != "packed") return path;
        AdapterQuantization.Quantize(path, 4, path + "-4");
        return path + "-4";
    }
}
