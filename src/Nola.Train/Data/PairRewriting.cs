using Nola.Tensors;

namespace Nola.Train;

/// <summary>Pairs in another form: what <c>nola data convert</c> does beside choosing the file's form.</summary>
/// <param name="Template">What contexts are written into, in the place of <c>{context}</c>; null to leave them as they are.</param>
/// <param name="AsText">Whether context and completion become one text, with nothing between them.</param>
/// <param name="Longest">
/// Most characters (code points) of context and completion with a space between them, before the template; null for no limit.
/// </param>
/// <param name="First">How many pairs are taken, of those that are short enough; null for all.</param>
internal sealed record PairRewriting(string? Template, bool AsText, int? Longest, int? First)
{
    private const string Place = "{context}";

    /// <summary>The pairs that are left, rewritten.</summary>
    /// <exception cref="NolaException">
    /// The template has no place for a context, a number is not positive, a pair has no text to rewrite, or none is left.
    /// </exception>
    public TextPairs Rewrite(TextPairs pairs)
    {
        if (Template?.Contains(Place, StringComparison.Ordinal) == false)
            throw new NolaException($"The template is {Quoted.Of(Template)}; it has to contain {Place}, where the context is put.");
        if (Longest is < 1) throw new NolaException($"longest is {Longest}; expected a whole number from 1.");
        if (First is < 1) throw new NolaException($"first is {First}; expected a whole number from 1.");
        IEnumerable<TextPair> left = pairs.Where(pair => Longest is not { } most || Length(pair) <= most);
        TextPair[] rewritten = [.. left.Take(First ?? int.MaxValue).Select(Rewrite)];
        return rewritten.Length > 0 ? new(rewritten, pairs.Source)
            : throw new NolaException($"{pairs.Source}: every pair has more than {Longest} characters; raise longest.");
    }

    private TextPair Rewrite(TextPair pair)
    {
        if (Template is null && !AsText) return pair;
        if (pair.IsDocument || pair.Messages is not null || pair.ContextIds is not null || pair.CompletionIds is not null)
            throw new NolaException($"{pair.Place}: a template and one text are for a context and a completion in text, and this pair has "
                + $"{(pair.IsDocument ? "a text alone" : pair.Messages is not null ? "a conversation" : "token ids")}.");
        string context = Template?.Replace(Place, pair.Context, StringComparison.Ordinal) ?? pair.Context;
        return AsText
            ? pair with { Context = "", Completion = context + pair.Completion, IsDocument = true }
            : pair with { Context = context };
    }

    private static int Length(TextPair pair) => pair.Context.EnumerateRunes().Count() + 1 + pair.Completion.EnumerateRunes().Count();
}
