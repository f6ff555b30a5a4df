using Nola.Fuzz;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>The campaign of damaged files, short; and that it sees what it is there to see.</summary>
public sealed class FuzzTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void Damaged_files_of_every_kind_are_read_or_refused_in_one_sentence()
    {
        CampaignOptions options = new()
        {
            Seed = 13,
            Count = 20_000,
            Threads = Environment.ProcessorCount,
            Failures = Path.Combine(Path.GetTempPath(), "nola-fuzz-failures"),
        };
        CampaignReport report = new Campaign(options, _ => { }).Run();
        Assert.True(report.Failures.Count == 0, report.Summary());
        Assert.Equal(20_000, report.Inputs);
        // Damage that only ever ends at the first check, or is never noticed, tests nothing.
        // One in 50 is whole.
        Assert.All(report.Kinds, kind => Assert.True(kind.Accepted > kind.Inputs / 30, $"{kind.Kind}: {kind.Accepted} of {kind.Inputs}"));
        Assert.True(report.Kinds.Sum(kind => kind.Refused) > report.Inputs / 4);
    }

    [Fact]
    public void An_input_is_made_again_by_its_seed_and_number()
    {
        using Bench first = new(Path.Combine(directory, "1")), second = new(Path.Combine(directory, "2"));
        foreach ((FuzzKind one, FuzzKind other) in AllKinds.Create().Zip(AllKinds.Create()))
        {
            one.Prepare(first);
            other.Prepare(second);
            FuzzInput[] inputs = [.. Enumerable.Range(0, 30).Select(number => one.Make(Dice.Of(one.Name, 5, number)))];
            foreach (int number in (int[])[29, 3, 0])
            {
                FuzzInput again = other.Make(Dice.Of(other.Name, 5, number));
                Assert.Equal(inputs[number].Files.Select(f => f.Name), again.Files.Select(f => f.Name));
                Assert.Equal(inputs[number].Files.Select(f => f.Bytes), again.Files.Select(f => f.Bytes));
            }
            Assert.True(inputs.Select(Text).Distinct().Count() > 20, one.Name);
        }
    }

    [Fact]
    public void A_whole_example_of_every_kind_is_read()
    {
        using Worker worker = new(directory);
        foreach (FuzzKind kind in AllKinds.Create())
        {
            kind.Prepare(worker.Bench);
            int[] whole = [.. Enumerable.Range(0, 1000).Where(n => kind.Make(Dice.Of(kind.Name, 5, n)).IsWhole).Take(6)];
            Assert.Equal(6, whole.Length);
            foreach (int number in whole)
            {
                Outcome outcome = worker.Run(kind, 5, number);
                Assert.True(outcome is { Accepted: true, Failure: null }, $"{kind.Name}: {outcome.Failure?.What} {outcome.Message}");
            }
        }
    }

    [Theory]
    [InlineData("crash", "InvalidOperationException")]
    [InlineData("nameless", "the message does not name the file")]
    [InlineData("blank", "the message is not one sentence")]
    [InlineData("changed", "pair 1 changed")]
    [InlineData("memory", "takes more than 512 MB")]
    [InlineData("leak", "leaves memory on the device")]
    [InlineData("refuses", "a whole example is refused")]
    [InlineData("slow", "takes longer than 2 s")]
    public void What_is_wrong_with_an_outcome_is_seen(string fault, string what)
    {
        using Worker worker = new(directory);
        Outcome outcome = worker.Run(new Faulty(fault), 1, 0);
        Assert.StartsWith(what, outcome.Failure?.What);
        // And not of the input after it.
        Assert.Null(worker.Run(new Faulty("none"), 1, 1).Failure);
    }

    private static string Text(FuzzInput input) => string.Join(' ', input.Files.Select(f => Convert.ToBase64String(f.Bytes)));

    private sealed class Faulty(string fault) : FuzzKind("faulty")
    {
        public override void Prepare(Bench bench)
        {
        }

        public override FuzzInput Make(Dice dice) => new([("a.txt", [1, 2, 3])], IsWhole: fault == "refuses");

        public override void Run(Bench bench, string place, Dice dice)
        {
            Assert.Equal([1, 2, 3], File.ReadAllBytes(Path.Combine(place, "a.txt")));
            switch (fault)
            {
                case "crash": throw new InvalidOperationException("x");
                case "nameless": throw new NolaException("something is wrong somewhere.");
                case "blank": throw new NolaException(" ");
                case "refuses": throw new NolaException($"{place}/a.txt: no.");
                case "changed": throw new FuzzException("pair 1 changed");
                case "memory":
                    for (int i = 0; i < 9; i++) _ = GC.AllocateUninitializedArray<byte>(64 << 20)[i];
                    break;
                case "leak":
                    _ = bench.Device.Empty([1000]);
                    break;
                case "slow":
                    for (TimeSpan start = ThreadTime.Now; ThreadTime.Now - start < TimeSpan.FromSeconds(2.1);) { }
                    break;
            }
        }
    }
}
