using System.CommandLine;
using Nola.Cli;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>How the words of a command line are read, and what is said of those that cannot be.</summary>
public sealed class CommandLineTests
{
    private static readonly Type[] numbers = [typeof(int), typeof(uint), typeof(long), typeof(ulong), typeof(float), typeof(double)];
    private static readonly Type[] strict = [typeof(WholeOption<>), typeof(RealOption<>)];

    [Fact]
    public void Every_number_of_every_command_is_read_strictly()
    {
        Option[] options = [.. Commands(CommandLine.Create()).SelectMany(c => c.Options).Where(o => numbers.Contains(o.ValueType))];
        Assert.True(options.Length > 25, $"{options.Length}");
        Assert.All(options, option => Assert.Contains(option.GetType().GetGenericTypeDefinition(), strict));
    }

    [Theory]
    [InlineData("generate --temperature 0,8", "--temperature: '0,8' is not a number; write 0.8.")]
    [InlineData("generate --top-p 1,000", "--top-p: '1,000' is not a number; write 1.000.")]
    [InlineData("generate --top-p NaN", "--top-p: 'NaN' is not a finite number, such as 0.8.")]
    [InlineData("generate --temperature 1e99", "--temperature: '1e99' is not a finite number, such as 0.8.")]
    [InlineData("generate --length-penalty \" 1\"", "--length-penalty: ' 1' is not a finite number, such as 0.8.")]
    [InlineData("generate --max-new 1.5", "--max-new: '1.5' is not a whole number, written with digits alone.")]
    [InlineData("generate --max-new 1,000", "--max-new: '1,000' is not a whole number, written with digits alone.")]
    [InlineData("generate --max-new 99999999999", "--max-new: '99999999999' is not a whole number from -2147483648 to 2147483647.")]
    [InlineData("generate --seed -1", "--seed: '-1' is not a whole number from 0 to 18446744073709551615.")]
    [InlineData("generate --threads x", "--threads: 'x' is not a whole number, written with digits alone.")]
    [InlineData("loss --pairs e2e:dev --label-smoothing 0,1", "--label-smoothing: '0,1' is not a number; write 0.1.")]
    [InlineData("quantize a --out b --bits four", "--bits: 'four' is not a whole number, written with digits alone.")]
    [InlineData("pretrain --text a --out b --lr 0,002", "--lr: '0,002' is not a number; write 0.002.")]
    [InlineData("score --refs a --hyp b --mteval v14", "--mteval: 'v14' is not known; expected pymteval or v13a.")]
    [InlineData("loss --pairs e2e:dev --subset some", "--subset: 'some' is not known; expected all or seen or unseen.")]
    public void A_value_that_is_none_is_named(string line, string complaint) =>
        Assert.Equal(complaint, Assert.Single(CommandLine.Create().Parse(line).Errors).Message);

    [Fact]
    public void Numbers_have_their_values_and_defaults()
    {
        const string Line = "generate --temperature 8e-1 --max-new -3 --seed 18446744073709551615 --length-penalty -.5";
        ParseResult given = CommandLine.Create().Parse(Line);
        Assert.Empty(given.Errors);
        Assert.Equal(0.8f, given.GetValue<float>("--temperature"));
        Assert.Equal(-3, given.GetValue<int>("--max-new"));
        Assert.Equal(ulong.MaxValue, given.GetValue<ulong>("--seed"));
        Assert.Equal(-0.5, given.GetValue<double>("--length-penalty"));
        Assert.Equal((64, 0), (Default<int>("--max-new"), Default<int>("--top-k")));
        Assert.Equal((0.8, 1f), (Default<double>("--length-penalty"), Default<float>("--top-p")));

        static T? Default<T>(string name) => CommandLine.Create().Parse("generate").GetValue<T>(name);
    }

    [Fact]
    public void No_word_at_all_asks_for_help()
    {
        (int code, string output, string error) = Tool.Run([]);
        Assert.Equal((0, ""), (code, error));
        Assert.Contains("generate", output);
        Assert.Equal(Tool.Run(["--help"]).Output, output);
    }

    [Fact]
    public void The_help_of_every_command_has_an_example_that_can_be_read()
    {
        foreach (Command command in Commands(CommandLine.Create()))
        {
            StringWriter help = new();
            string[] words = [.. Words(command), "--help"];
            ParseResult parsed = CommandLine.Parse(words);
            Assert.Empty(parsed.Errors);
            Assert.Equal(0, parsed.Invoke(new InvocationConfiguration { Output = help }));
            string[] lines = [.. help.ToString().Split('\n').Select(line => line.Trim())];
            string[] examples = lines[(Array.FindIndex(lines, line => line is "Example:" or "Examples:") + 1)..];
            Assert.Contains(examples, line => line.StartsWith("nola " + string.Join(' ', Words(command)), StringComparison.Ordinal));
            foreach (string example in examples.Where(line => line.Length > 0))
                Assert.Empty(CommandLine.Create().Parse(example["nola ".Length..]).Errors);
        }
    }

    [Theory]
    [InlineData(
        "'--epoch\\n' is not an option of 'nola train'; did you mean '--epochs'? See 'nola train --help'.", "train", "--epoch\n", "3")]
    [InlineData("See 'nola data convert --help'.", "data", "convert", "e2e:dev")]
    [InlineData("'\\u001B[31mtrian' is not a command; did you mean 'train'?", "\u001b[31mtrian")]
    [InlineData("expected pymteval or v13a. See 'nola score --help'.", "score", "--refs", "a", "--hyp", "b", "--mteval", "v\n14")]
    public void What_is_wrong_is_one_printable_line(string complaint, params string[] words) =>
        Assert.Contains(complaint, Tool.Fails(2, words));

    [Fact]
    public void A_thousand_characters_are_not_repeated() =>
        Assert.InRange(Tool.Fails(2, "generate", "--temperature", new string('9', 5000) + "x").Length, 20, 250);

    [Fact]
    public void Advice_of_the_library_is_followed_by_the_flags_that_the_command_has()
    {
        NolaException error = new("Lower the learning rate or clip.") { Options = ["LearningRate", "ClipNorm"] };
        Assert.Equal(" Options: --lr, --clip.", Hints.For(error, CommandOf("train")));
        Assert.Equal(" Options: --lr.", Hints.For(error, CommandOf("pretrain")));
        Assert.Equal("", Hints.For(error, CommandOf("inspect")));
        Assert.Equal(" Options: --lr, --clip.", Hints.For(new NolaException($"run: {error.Message}", error), CommandOf("train")));
        NolaException refused = new("cuda is not here.") { Options = ["Device"] };
        Assert.Equal(" Options: --device. See 'nola devices'.", Hints.For(refused, CommandOf("train")));
        Assert.Equal("", Hints.For(new NolaException("Known."), CommandOf("train")));

        static Command CommandOf(string name) => CommandLine.Create().Subcommands.Single(command => command.Name == name);
    }

    [Fact]
    public void A_fault_of_the_program_is_one_sentence_and_an_exit_code_of_its_own()
    {
        TextWriter before = Console.Error;
        StringWriter said = new();
        Console.SetError(said);
        try
        {
            Assert.Equal(70, Terminal.Guarded(() => throw new InvalidOperationException("one\ntwo")));
            Assert.Equal(1, Terminal.Guarded(() => throw new IOException("disk\u0000")));
            Assert.Equal(1, Terminal.Guarded(() => throw new NolaException("Known.")));
            Assert.Equal(0, Terminal.Guarded(() => 0));
        }
        finally
        {
            Console.SetError(before);
        }
        string[] lines = said.ToString().TrimEnd().Split(Environment.NewLine);
        Assert.Equal(3, lines.Length);
        Assert.StartsWith("nola: internal error (InvalidOperationException: one\\ntwo); please report it.", lines[0]);
        Assert.Equal(["nola: disk\\u0000", "nola: Known."], lines[1..]);
    }

    private static IEnumerable<Command> Commands(Command command) => command.Subcommands.SelectMany(Commands).Prepend(command);

    private static IEnumerable<string> Words(Command command) =>
        command is RootCommand ? [] : [.. command.Parents.OfType<Command>().SelectMany(Words), command.Name];
}
