using System.Text;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>E2E's contexts.</summary>
internal static class MeaningRepresentation
{
    /// <summary>
    /// <c>name[Blue Spice], eatType[pub]</c> → <c>name : Blue Spice | Type : pub</c>: the form that the LoRA and NOLA code train on.
    /// </summary>
    /// <exception cref="NolaException">It is of another form.</exception>
    public static string Linearise(string text, string place)
    {
        StringBuilder result = new();
        int at = 0;
        while (at < text.Length)
        {
            int open = text.IndexOf('[', at), close = open < 0 ? -1 : text.IndexOf(']', open);
            if (close < 0)
                throw new NolaException($"{place}: {Quoted.Of(text)} is not a meaning representation; "
                    + "expected name[value], name[value], ….");
            string key = text[at..open].Trim(' ', ',') switch
            {
                "eatType" => "Type",
                "priceRange" => "price",
                "familyFriendly" => "family friendly",
                string other => other,
            };
            if (result.Length > 0) result.Append(" | ");
            result.Append(key).Append(" : ").Append(text, open + 1, close - open - 1);
            at = close + 1;
            while (at < text.Length && (text[at] is ',' or ' ')) at++;
        }
        return result.ToString();
    }
}
