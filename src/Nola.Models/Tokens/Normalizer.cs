using System.Text.RegularExpressions;

namespace Nola.Models;

/// <summary>Where in a text a part of it begins that is encoded by itself.</summary>
internal enum PartStart
{
    /// <summary>At the beginning of the text.</summary>
    Text,

    /// <summary>After an added token.</summary>
    AfterToken,

    /// <summary>In the middle of running text; nothing is put before it.</summary>
    Within,
}

/// <summary>A change of the text before it is cut, as a <c>normalizer</c> of <c>tokenizer.json</c> says it.</summary>
internal abstract class Normalizer
{
    /// <summary>The changed text.</summary>
    public abstract string Apply(string text, PartStart start);
}

/// <summary>Several changes, one after the other.</summary>
internal sealed class NormalizerSequence(IReadOnlyList<Normalizer> steps) : Normalizer
{
    /// <inheritdoc/>
    public override string Apply(string text, PartStart start) => steps.Aggregate(text, (changed, step) => step.Apply(changed, start));
}

/// <summary>Unicode's form C.</summary>
internal sealed class CanonicalNormalizer : Normalizer
{
    /// <inheritdoc/>
    public override string Apply(string text, PartStart start) => CanonicalForm.Of(text);
}

/// <summary>A text before whatever is not empty.</summary>
internal sealed class PrependNormalizer(string prefix) : Normalizer
{
    /// <inheritdoc/>
    public override string Apply(string text, PartStart start) => text.Length == 0 || start == PartStart.Within ? text : prefix + text;
}

/// <summary>One text for another.</summary>
internal sealed class ReplaceNormalizer(string from, string to) : Normalizer
{
    /// <inheritdoc/>
    public override string Apply(string text, PartStart start) => text.Replace(from, to, StringComparison.Ordinal);
}

/// <summary>A text for whatever an expression finds.</summary>
internal sealed class ReplacePatternNormalizer(Regex from, string to) : Normalizer
{
    /// <inheritdoc/>
    public override string Apply(string text, PartStart start) => from.Replace(text, _ => to);
}

/// <summary>White space at the ends taken away.</summary>
internal sealed class StripNormalizer(bool left, bool right) : Normalizer
{
    /// <inheritdoc/>
    public override string Apply(string text, PartStart start)
    {
        if (left && start != PartStart.Within) text = text.TrimStart();
        return right ? text.TrimEnd() : text;
    }
}

/// <summary>Lower case.</summary>
internal sealed class LowercaseNormalizer : Normalizer
{
    /// <inheritdoc/>
    public override string Apply(string text, PartStart start) => text.ToLowerInvariant();
}
