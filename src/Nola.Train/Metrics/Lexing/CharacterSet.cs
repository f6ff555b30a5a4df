using System.Globalization;
using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>A set of Unicode code points: ranges and general categories, possibly complemented.</summary>
internal sealed class CharacterSet
{
    private readonly List<(int First, int Last)> ranges = [];
    private readonly HashSet<UnicodeCategory> categories = [];

    /// <summary>Whether the set is everything but what was added.</summary>
    public bool Complemented { get; set; }

    public void Add(int first, int last) => ranges.Add((first, last));

    /// <summary>Adds a category by its short name: L, Lu, Nd.</summary>
    public void AddCategory(string name) => categories.UnionWith(name switch
    {
        "L" =>
        [
            UnicodeCategory.UppercaseLetter, UnicodeCategory.LowercaseLetter, UnicodeCategory.TitlecaseLetter,
            UnicodeCategory.ModifierLetter, UnicodeCategory.OtherLetter,
        ],
        "Lu" => [UnicodeCategory.UppercaseLetter],
        "Nd" => [UnicodeCategory.DecimalDigitNumber],
        _ => throw new ArgumentOutOfRangeException(nameof(name), name, "no such category"),
    });

    /// <summary>A letter in either case; anything else by itself.</summary>
    public static CharacterSet Caseless(int point)
    {
        CharacterSet set = new();
        set.Add(point, point);
        if (point <= char.MaxValue && char.IsLetter((char)point))
        {
            set.Add(char.ToLowerInvariant((char)point), char.ToLowerInvariant((char)point));
            set.Add(char.ToUpperInvariant((char)point), char.ToUpperInvariant((char)point));
        }
        return set;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Contains(int point)
    {
        bool found = categories.Count > 0 && categories.Contains(CharUnicodeInfo.GetUnicodeCategory(point));
        foreach ((int first, int last) in ranges) found |= point >= first && point <= last;
        return found != Complemented;
    }
}
