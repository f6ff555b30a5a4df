using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace Nola.Models;

/// <summary>
/// Unicode's normalization form C (UAX #15), which .NET leaves out where no ICU library is used: characters are decomposed, marks are
/// put into their order, and what has a character of its own is composed again.
/// </summary>
internal sealed class CanonicalForm
{
    private const int HangulFirst = 0xAC00, HangulCount = 11172, VowelCount = 21, TailCount = 28;
    private const int LeadFirst = 0x1100, VowelFirst = 0x1161, TailFirst = 0x11A7, LeadCount = 19;

    // The first character that is decomposed, and the first that is not always what it is: Latin-1 is unless a mark follows.
    private const char FirstChanged = '\u00C0', FirstMark = '\u0300';

    private static readonly Lazy<CanonicalForm> shared = new(() => new());

    private readonly Dictionary<int, byte> classes = [];
    private readonly Dictionary<int, int[]> decompositions = [];
    private readonly Dictionary<(int First, int Second), int> compositions = [];

    // Of the characters up to U+FFFF, those that may be something else in form C, or change what is before them.
    private readonly bool[] unsettled = new bool[char.MaxValue + 1];

    private CanonicalForm()
    {
        using Stream packed = typeof(CanonicalForm).Assembly.GetManifestResourceStream("unicode.nfc.txt.gz")!;
        using StreamReader lines = new(new GZipStream(packed, CompressionMode.Decompress));
        while (lines.ReadLine() is { } line)
        {
            string[] parts = line.Split(' ');
            if (parts.Length == 2) AddClass(parts[0].Split(".."), byte.Parse(parts[1], CultureInfo.InvariantCulture));
            else AddDecomposition(Hex(parts[0]), parts[1] == "=", [.. parts[2..].Select(Hex)]);
        }
        foreach (int character in classes.Keys.Concat(compositions.Keys.Select(pair => pair.Second))) Unsettle(character);
        foreach ((int character, _) in decompositions.Where(d => compositions.GetValueOrDefault((d.Value[0], d.Value[^1])) != d.Key))
            Unsettle(character);
        // Vowels and final consonants of Hangul; and what is beyond U+FFFF is looked at.
        for (int c = VowelFirst; c < TailFirst + TailCount; c++) Unsettle(c);
        for (int c = char.MinValue; c <= char.MaxValue; c++)
            if (char.IsSurrogate((char)c)) Unsettle(c);
    }

    /// <summary>The text in form C.</summary>
    public static string Of(string text)
    {
        int mark = text.AsSpan().IndexOfAnyInRange(FirstMark, char.MaxValue);
        return mark < 0 || shared.Value.IsSettled(text.AsSpan(mark)) ? text : shared.Value.Compose(text);
    }

    private bool IsSettled(ReadOnlySpan<char> text)
    {
        foreach (char c in text)
            if (unsettled[c]) return false;
        return true;
    }

    private void Unsettle(int character)
    {
        if (character <= char.MaxValue) unsettled[character] = true;
    }

    private static int Hex(string text) => int.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    private void AddClass(string[] range, byte order)
    {
        for (int c = Hex(range[0]); c <= Hex(range[1]); c++) classes[c] = order;
    }

    private void AddDecomposition(int character, bool composes, int[] parts)
    {
        decompositions[character] = parts;
        if (composes) compositions[(parts[0], parts[1])] = character;
    }

    private string Compose(string text)
    {
        List<(int Character, byte Class)> parts = new(text.Length + 16);
        foreach (Rune rune in text.EnumerateRunes()) Decompose(rune.Value, parts);
        Order(parts);
        StringBuilder result = new(text.Length);
        foreach (int character in Composed(parts)) result.Append(new Rune(character).ToString());
        return result.ToString();
    }

    private void Decompose(int character, List<(int Character, byte Class)> to)
    {
        int syllable = character - HangulFirst;
        if (character < FirstChanged) to.Add((character, 0));
        else if (syllable is >= 0 and < HangulCount)
        {
            to.Add((LeadFirst + syllable / (VowelCount * TailCount), 0));
            to.Add((VowelFirst + syllable / TailCount % VowelCount, 0));
            if (syllable % TailCount > 0) to.Add((TailFirst + syllable % TailCount, 0));
        }
        else if (decompositions.TryGetValue(character, out int[]? parts))
            foreach (int part in parts) Decompose(part, to);
        else to.Add((character, classes.GetValueOrDefault(character)));
    }

    // Marks between two starters by their classes, equal ones in the order that they have.
    private static void Order(List<(int Character, byte Class)> parts)
    {
        for (int i = 0; i < parts.Count; i++)
        {
            if (parts[i].Class == 0) continue;
            int end = i;
            while (end < parts.Count && parts[end].Class != 0) end++;
            List<(int, byte)> sorted = [.. parts.GetRange(i, end - i).OrderBy(part => part.Class)];
            for (int m = 0; m < sorted.Count; m++) parts[i + m] = sorted[m];
            i = end;
        }
    }

    private List<int> Composed(List<(int Character, byte Class)> parts)
    {
        List<int> result = new(parts.Count);
        // The last starter, and the class of the last character after it that was not composed with it.
        int starter = -1, last = -1;
        foreach ((int character, byte order) in parts)
        {
            bool reaches = starter >= 0 && (last < 0 || (last != 0 && last < order));
            if (reaches && Pair(result[starter], character) is { } whole)
            {
                result[starter] = whole;
                continue;
            }
            if (order == 0) (starter, last) = (result.Count, -1);
            else last = order;
            result.Add(character);
        }
        return result;
    }

    private int? Pair(int first, int second)
    {
        int lead = first - LeadFirst, vowel = second - VowelFirst, syllable = first - HangulFirst, tail = second - TailFirst;
        if (lead is >= 0 and < LeadCount && vowel is >= 0 and < VowelCount) return HangulFirst + (lead * VowelCount + vowel) * TailCount;
        bool open = syllable is >= 0 and < HangulCount && syllable % TailCount == 0;
        if (open && tail is > 0 and < TailCount) return first + tail;
        return compositions.TryGetValue((first, second), out int whole) ? whole : null;
    }
}
