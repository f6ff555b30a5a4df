using System.Text;

namespace Nola.Models;

/// <summary>
/// Byte-pair encoding as <c>tokenizer.json</c> describes it: the text is normalized and cut into words; a word begins as a token for
/// each byte (byte-level, as GPT-2) or each character (as SentencePiece, with bytes for characters that have no token), and tokens
/// merge by rank.
/// </summary>
internal sealed class BytePairModel : SubwordModel
{
    private readonly Normalizer? normalizer;
    private readonly PreTokenizer[] steps;
    private readonly PairMerges merges;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> tokens;
    private readonly int[] byteIds = new int[256];
    private readonly char[] alphabet = Gpt2Tokenizer.Alphabet();
    private readonly CharacterIds characters = new();
    private readonly bool byteLevel, takesWhole, fuses;
    private readonly int unknown;

    /// <summary>Prepares the tables.</summary>
    public BytePairModel(BytePairParts parts)
    {
        (normalizer, steps, merges) = (parts.Normalizer, parts.Steps, parts.Merges);
        (byteLevel, takesWhole, fuses, unknown) = (parts.IsByteLevel, parts.TakesWholeWords, parts.FusesUnknown, parts.Unknown);
        tokens = parts.Tokens.GetAlternateLookup<ReadOnlySpan<char>>();
        for (int b = 0; b < 256; b++)
            byteIds[b] = parts.Tokens.GetValueOrDefault(byteLevel ? alphabet[b].ToString() : ByteTokens.Name(b), -1);
        // Bytes are a way out only where there is one for each.
        if (!byteLevel && (!parts.FallsBackOnBytes || byteIds.Contains(-1))) Array.Fill(byteIds, -1);
        if (byteLevel) return;
        foreach ((string token, int id) in parts.Tokens)
            if (token.Length <= 2 && Rune.TryGetRuneAt(token, 0, out Rune rune) && rune.Utf16SequenceLength == token.Length)
                characters[rune.Value] = id;
        bool cutsNothing = steps.All(step => step is SpaceMarks { Cuts: false });
        if (cutsNothing && !takesWhole && parts.KeepsMarksInFront(SpaceMark)) steps = [.. steps, new RunCuts(SpaceMark)];
    }

    /// <inheritdoc/>
    public override string Normalize(string text, PartStart start) => normalizer is null ? text : normalizer.Apply(text, start);

    /// <inheritdoc/>
    public override void Encode(ReadOnlySpan<char> text, PartStart start, List<int> ids) =>
        Cut(text, start, 0, [.. steps.Select(_ => new List<int>())], ids);

    private void Cut(ReadOnlySpan<char> text, PartStart start, int step, List<int>[] scratch, List<int> ids)
    {
        if (step == steps.Length)
        {
            AddWord(text, ids);
            return;
        }
        if (steps[step].Changed(text, start) is { } changed) text = changed;
        List<int> ends = scratch[step];
        ends.Clear();
        steps[step].Cut(text, ends);
        int from = 0;
        foreach (int end in ends)
        {
            // A word inside of the part is as one after a token: a pre-tokenizer that marks every word marks it.
            Cut(text[from..end], from == 0 ? start : PartStart.AfterToken, step + 1, scratch, ids);
            from = end;
        }
    }

    private void AddWord(ReadOnlySpan<char> word, List<int> ids)
    {
        if (word.IsEmpty) return;
        int start = ids.Count;
        if (byteLevel) AddBytes(word, ids);
        else if (takesWhole && tokens.TryGetValue(word, out int id)) ids.Add(id);
        else
        {
            AddCharacters(word, ids);
            merges.Apply(ids, start);
        }
    }

    private void AddBytes(ReadOnlySpan<char> word, List<int> ids)
    {
        int start = ids.Count, length = Encoding.UTF8.GetMaxByteCount(word.Length);
        Span<byte> bytes = length <= 256 ? stackalloc byte[256] : new byte[length];
        bytes = bytes[..Encoding.UTF8.GetBytes(word, bytes)];
        if (takesWhole && FindWhole(bytes) is { } whole)
        {
            ids.Add(whole);
            return;
        }
        foreach (byte b in bytes) AddOrUnknown(byteIds[b], ids, start);
        merges.Apply(ids, start);
    }

    private int? FindWhole(ReadOnlySpan<byte> bytes)
    {
        Span<char> name = bytes.Length <= 256 ? stackalloc char[bytes.Length] : new char[bytes.Length];
        for (int i = 0; i < bytes.Length; i++) name[i] = alphabet[bytes[i]];
        return tokens.TryGetValue(name, out int id) ? id : null;
    }

    private void AddCharacters(ReadOnlySpan<char> word, List<int> ids)
    {
        int start = ids.Count;
        Span<byte> bytes = stackalloc byte[4];
        foreach (Rune rune in word.EnumerateRunes())
        {
            int id = characters[rune.Value];
            if (id >= 0 || byteIds[0] < 0) AddOrUnknown(id, ids, start);
            else
                foreach (byte b in bytes[..rune.EncodeToUtf8(bytes)])
                    ids.Add(byteIds[b]);
        }
    }

    // What has no token is the unknown one, once for a run where the file says so, or nothing where there is none.
    private void AddOrUnknown(int id, List<int> ids, int start)
    {
        bool again = id < 0 && fuses && ids.Count > start && ids[^1] == unknown;
        if (id < 0) id = unknown;
        if (id >= 0 && !again) ids.Add(id);
    }
}

/// <summary>What a <see cref="BytePairModel"/> is made of.</summary>
internal sealed record BytePairParts
{
    /// <summary>The vocabulary, as it is spelled in the file.</summary>
    public required Dictionary<string, int> Tokens { get; init; }

    /// <summary>The merges.</summary>
    public required PairMerges Merges { get; init; }

    /// <summary>What pairs become, in the file's spelling.</summary>
    public required IReadOnlyList<string> Merged { get; init; }

    /// <summary>What is changed before the text is cut; null for nothing.</summary>
    public Normalizer? Normalizer { get; init; }

    /// <summary>How the text is cut into words.</summary>
    public PreTokenizer[] Steps { get; init; } = [];

    /// <summary>Words begin as bytes in GPT-2's alphabet; else as characters.</summary>
    public bool IsByteLevel { get; init; }

    /// <summary>A word that is a token is that token, whatever merges would make of it (<c>ignore_merges</c>).</summary>
    public bool TakesWholeWords { get; init; }

    /// <summary>Characters without a token become tokens of their bytes (<c>byte_fallback</c>).</summary>
    public bool FallsBackOnBytes { get; init; }

    /// <summary>Neighboring unknown characters are one token (<c>fuse_unk</c>).</summary>
    public bool FusesUnknown { get; init; }

    /// <summary>The token of what has none (<c>unk_token</c>); −1 for none.</summary>
    public int Unknown { get; init; } = -1;

    /// <summary>Whether no pair makes a token with a mark behind another character, so that text can be cut before runs of marks.</summary>
    public bool KeepsMarksInFront(char mark) => !Merged.Any(token => token.AsSpan().TrimStart(mark).Contains(mark));
}

/// <summary>Tokens that stand for a byte each, <c>&lt;0x00&gt;</c> to <c>&lt;0xFF&gt;</c>.</summary>
internal static class ByteTokens
{
    /// <summary>The name of a byte's token.</summary>
    public static string Name(int value) => $"<0x{value:X2}>";

    /// <summary>The byte that a token's name stands for; null for any other.</summary>
    public static byte? Of(string name)
    {
        bool shaped = name is ['<', '0', 'x', _, _, '>'];
        return shaped && byte.TryParse(name.AsSpan(3, 2), System.Globalization.NumberStyles.AllowHexSpecifier, null, out byte value)
            ? value
            : null;
    }
}
