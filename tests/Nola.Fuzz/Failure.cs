namespace Nola.Fuzz;

/// <summary>An input whose outcome is neither success nor one sentence, in time and within memory.</summary>
/// <param name="Kind">Of the input.</param>
/// <param name="Seed">Of the campaign.</param>
/// <param name="Number">Of the input.</param>
/// <param name="What">What happened, in one line that is alike for alike failures.</param>
/// <param name="Detail">The exception with its stack, or the message.</param>
internal sealed record Failure(string Kind, long Seed, long Number, string What, string Detail)
{
    /// <summary>How to make it again.</summary>
    public string Command => $"dotnet run -c Release --project tests/Nola.Fuzz -- --kind {Kind} --seed {Seed} --number {Number}";
}
