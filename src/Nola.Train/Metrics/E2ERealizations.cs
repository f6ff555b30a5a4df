using System.Text.RegularExpressions;

namespace Nola.Train.Metrics;

/// <summary>
/// How the values of E2E's attributes are said, by attributes as contexts write them. Names and neighbors are said as themselves, and
/// are not here.
/// </summary>
internal static class E2ERealizations
{
    private const string Children = "(?:famil(?:y|ies)|kids?|child(?:ren)?)";

    // "a low customer rating", "customers rate it low", "is rated 1 out of 5".
    private const string Rating = "(?:rat(?:ing|ings|ed|es?)|reviews?|reviewed|scores?|feedback|quality)";

    private static readonly Dictionary<string, (string Value, Regex Said)[]> known = new()
    {
        ["type"] =
        [
            Said("restaurant", "restaurants?"),
            Said("pub", "pubs?"),
            Said("coffee shop", "coffee[ -]*shops?", "coffee[ -]*(?:place|house)s?", "caf[eé]s?", "coffee"),
        ],
        ["food"] =
        [
            Said("Chinese", "chinese"),
            Said("English", "english", "british"),
            Said("Fast food", "fast[ -]*foods?"),
            Said("French", "french"),
            Said("Indian", "indian"),
            Said("Italian", "italian"),
            Said("Japanese", "japanese", "sushi"),
        ],
        ["price"] =
        [
            Said(
                "cheap", "cheap(?:ly|er)?", "inexpensive(?:ly)?", "affordabl[ey]", "low(?:er)?[ -]+(?:cost|pric(?:e[sd]?|ing))",
                Price("(?:low|cheap)")),
            Said(
                "moderate", "(?:moderate|mid|medium|average|reasonable)(?:ly)?[ -]+(?:range[ -]+)?(?:cost|pric(?:e[sd]?|ing))",
                "affordabl[ey]", Price("(?:moderate|average|reasonable|mid[ -]?range)")),
            Said("high", "high(?:er|ly)?[ -]+(?:cost|pric(?:e[sd]?|ing)|end)", "expensive", "pricey", Price("(?:high|expensive)")),
            Said(
                "less than £20", "(?:less than|under|below|up to) (?:£ *)?20(?: pounds?)?", "cheap(?:ly)?", "inexpensive(?:ly)?",
                "affordabl[ey]", "low[ -]+(?:cost|pric(?:e[sd]?|ing))", Price("low")),
            Said(
                "£20-25", "(?:£ *)?20 *(?:-|–|to|and) *(?:£ *)?25(?: pounds?)?",
                "(?:moderate|mid|average|reasonable)(?:ly)?[ -]+(?:cost|pric(?:e[sd]?|ing))", "affordabl[ey]",
                Price("(?:moderate|average|reasonable)")),
            Said(
                "more than £30", "(?:more than|over|above) (?:£ *)?30(?: pounds?)?", "high(?:er|ly)?[ -]+(?:cost|pric(?:e[sd]?|ing))",
                "expensive", "pricey", Price("high")),
        ],
        ["customer rating"] =
        [
            Said("low", Rated("(?:low|poor|bad)(?:ly)?"), Stars("1", "one")),
            Said("average", Rated("(?:average|mediocre|decent)(?:ly)?"), Stars("3", "three")),
            Said("high", Rated("(?:high|excellent|great|very good)(?:ly)?"), Stars("5", "five")),
            Said("1 out of 5", Stars("1", "one"), Rated("(?:low|poor|bad)(?:ly)?")),
            Said("3 out of 5", Stars("3", "three"), Rated("average")),
            Said("5 out of 5", Stars("5", "five"), Rated("(?:high|excellent|great|very good)(?:ly)?")),
        ],
        ["area"] =
        [
            Said("city centre", "(?:city|town) cent(?:re|er)", "cent(?:re|er) of (?:the )?(?:city|town|Cambridge)", "in the cent(?:re|er)"),
            Said("riverside", "riverside", "river[ -]side", "(?:by|near|at|along|on|beside|next to|close to) (?:the )?river"),
        ],
        ["family friendly"] =
        [
            Said(
                "yes", $"{Children}[ -]*(?:and {Children}[ -]*)?friendly", $"friendly (?:to|for) (?:the )?{Children}",
                $"(?:good|great|suitable|ideal|perfect) for (?:the )?(?:whole )?{Children}",
                $"(?:welcom(?:es?|ing)|allows?|accepts?) (?:\\w+ )?{Children}", $"{Children} (?:is|are) (?:welcomed?|allowed)",
                $"for (?:the )?(?:whole )?{Children}"),
            Said(
                "no", $"(?:not|isn't|non|no|nor|never)[ -]+(?:\\w+[ -]+){{0,2}}{Children}[ -]*(?:and {Children}[ -]*)?friendly",
                $"{Children}[ -]*unfriendly", $"un{Children}[ -]*friendly",
                $"(?:no|not) (?:\\w+ )?(?:for |to )?(?:the )?{Children}",
                $"(?:not|isn't) (?:good|suitable|ideal|friendly|recommended) (?:for|to|with) (?:the )?(?:whole )?{Children}",
                $"(?:does not|doesn't|do not|don't) (?:welcome|allow|accept) (?:\\w+ )?{Children}",
                $"{Children} (?:is|are) not (?:welcomed?|allowed)", "adults?[ -]+only", "(?:only )?for adults(?: only)?"),
        ],
    };

    /// <summary>The values of an attribute; null for one that is said as itself.</summary>
    /// <param name="attribute">Its name, in lower case.</param>
    public static (string Value, Regex Said)[]? Of(string attribute) => known.GetValueOrDefault(attribute);

    private static (string Value, Regex Said) Said(string value, params string[] patterns)
    {
        string any = string.Join('|', patterns.Select(pattern => $"(?:{pattern})"));
        return (value, new Regex($@"(?<!\w)(?:{any})(?!\w)", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant));
    }

    // "prices are low", "in the low price range", "a price range that is low".
    private static string Price(string how) =>
        $"(?:{how}[ -]+price(?:s|d)?(?:[ -]+range)?|pric(?:es?|ed|ing)(?:[ -]+ranges?)?(?: \\w+){{0,3}} {how}(?:ly)?)";

    private static string Rated(string how) => $"(?:{how}(?:[ -]+\\w+){{0,2}}[ -]+{Rating}|{Rating}(?: \\w+){{0,3}} {how})";

    private static string Stars(string digit, string word) =>
        $"(?:(?:{digit}|{word})[ -]+stars?|(?:{digit}|{word})(?:[ -]+stars?)?(?: out)? of (?:5|five)(?:[ -]+stars?)?|{digit} */ *5)";
}
