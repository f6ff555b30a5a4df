using System.CommandLine;
using System.CommandLine.Parsing;
using System.Numerics;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary>
/// An option with a whole number, read strictly. The options that come with the parser take what the runtime's lenient styles
/// take, where <c>0,8</c> is 8; every command has these in their place.
/// </summary>
internal sealed class WholeOption<T> : Option<T> where T : struct, IBinaryInteger<T>, IMinMaxValue<T>
{
    /// <summary>The option of a name.</summary>
    public WholeOption(string name) : base(name) => CustomParser = Read;

    private T Read(ArgumentResult result)
    {
        // Several values, or none, are refused by the parser itself.
        if (result.Tokens is not [{ Value: { } text }]) return default;
        if (StrictNumber.TryWhole(text, out T value)) return value;
        bool digits = text.Length > 0 && text.TrimStart('-').All(char.IsAsciiDigit);
        string expected = digits ? $" from {T.MinValue} to {T.MaxValue}" : ", written with digits alone";
        result.AddError($"{Name}: {Quoted.Of(text)} is not a whole number{expected}.");
        return default;
    }
}

/// <summary>An option with a finite number, read strictly.</summary>
internal sealed class RealOption<T> : Option<T> where T : struct, IBinaryFloatingPointIeee754<T>
{
    /// <summary>The option of a name.</summary>
    public RealOption(string name) : base(name) => CustomParser = Read;

    private T Read(ArgumentResult result)
    {
        if (result.Tokens is not [{ Value: { } text }]) return default;
        if (StrictNumber.TryReal(text, out T value)) return value;
        string point = text.Replace(',', '.');
        bool comma = StrictNumber.TryReal(point, out T _);
        result.AddError($"{Name}: {Quoted.Of(text)} is not a {(comma ? $"number; write {point}" : "finite number, such as 0.8")}.");
        return default;
    }
}

/// <summary>An option with one of a few words.</summary>
internal sealed class ChoiceOption : Option<string>
{
    /// <summary>The option of a name, with its words, of which the first is the default.</summary>
    public ChoiceOption(string name, params string[] words) : base(name)
    {
        HelpName = string.Join('|', words);
        DefaultValueFactory = _ => words[0];
        CompletionSources.Add(words);
        Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: { } word }] && !words.Contains(word))
                result.AddError($"{Name}: {Quoted.Of(word)} is not known; expected {string.Join(" or ", words)}.");
        });
    }
}
