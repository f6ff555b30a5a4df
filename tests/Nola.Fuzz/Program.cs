using System.Globalization;
using Nola.Fuzz;

return Arguments.Parse(args) is { } arguments ? arguments.Run() : 2;

/// <summary>The command line of the campaign.</summary>
internal sealed record Arguments(CampaignOptions Options, long? Number, string? Keep, string? Input, string? Report)
{
    private const string Usage = """
        Reads damaged files of every kind, in this process, and says which are neither accepted nor refused in one sentence.
          --kind K        only this kind (--kind list names them)
          --seed S        of all choices [1]
          --number N      only this input, again; with --keep DIR its files are written there
          --input FILE    with --kind: this file in the place of a whole example's
          --count N       how many inputs [20000 unless --time is given]
          --time T        for how long: 90s, 30m, 2h
          --first N       number of the first input, to go on where another campaign ended [0]
          --threads N     side by side [one for each core]
          --failures DIR  where failing inputs are kept [fuzz-failures]
          --report FILE   the counts as a table in Markdown
        """;

    /// <summary>Reads it; null when it cannot be, which has been said then.</summary>
    public static Arguments? Parse(string[] args)
    {
        Dictionary<string, string> given = [];
        for (int i = 0; i + 1 < args.Length; i += 2) given[args[i]] = args[i + 1];
        string[] known =
        [
            "--kind", "--seed", "--number", "--input", "--keep", "--count", "--time", "--first", "--threads", "--failures", "--report",
        ];
        string[] names = [.. AllKinds.Create().Select(kind => kind.Name)];
        string? kind = given.GetValueOrDefault("--kind");
        bool wrong = args.Length % 2 != 0 || given.Keys.Any(key => !known.Contains(key)) || (kind is not null && !names.Contains(kind));
        wrong |= kind is null && (given.ContainsKey("--number") || given.ContainsKey("--input"));
        if (wrong)
        {
            Console.Error.WriteLine($"{Usage}\nKinds: {string.Join(", ", names)}");
            return null;
        }
        CampaignOptions options = new()
        {
            Kind = kind,
            Seed = Whole("--seed", 1),
            First = Whole("--first", 0),
            Count = Whole("--count", given.ContainsKey("--time") ? long.MaxValue : 20_000),
            Time = given.TryGetValue("--time", out string? time) ? Duration(time) : TimeSpan.MaxValue,
            Threads = (int)Whole("--threads", Environment.ProcessorCount),
            Failures = given.GetValueOrDefault("--failures", "fuzz-failures"),
        };
        long? number = given.ContainsKey("--number") || given.ContainsKey("--input") ? Whole("--number", 0) : null;
        return new(options, number, Text("--keep"), Text("--input"), Text("--report"));

        string? Text(string key) => given.GetValueOrDefault(key);

        long Whole(string key, long standard) => Text(key) is { } text ? long.Parse(text, CultureInfo.InvariantCulture) : standard;
    }

    /// <summary>Does it; the exit code.</summary>
    public int Run()
    {
        Campaign campaign = new(Options, Console.Error.WriteLine);
        if (Number is { } number)
        {
            Outcome outcome = campaign.RunOne(number, Keep, Input);
            string result = outcome.Accepted ? $"accepted {outcome.Message}" : $"refused: {outcome.Message}";
            Console.WriteLine(outcome.Failure is { } failure ? $"FAILED: {failure.What}\n{failure.Detail}" : result);
            Console.WriteLine($"{outcome.Elapsed.TotalMilliseconds:F1} ms, {outcome.Bytes / 1048576.0:F1} MB");
            return outcome.Failure is null ? 0 : 1;
        }
        CampaignReport report = campaign.Run();
        Console.WriteLine(report.ToMarkdown());
        Console.Write(report.Summary());
        if (Report is not null) File.WriteAllText(Report, report.ToMarkdown());
        return report.Hung ? 3 : report.Failures.Count == 0 ? 0 : 1;
    }

    private static TimeSpan Duration(string text) => double.Parse(text[..^1], CultureInfo.InvariantCulture) * text[^1] switch
    {
        's' => TimeSpan.FromSeconds(1),
        'm' => TimeSpan.FromMinutes(1),
        'h' => TimeSpan.FromHours(1),
        _ => throw new FormatException($"--time is {text}; expected for example 90s, 30m or 2h."),
    };
}
