using System.Text;

namespace Nola.Models;

/// <summary>
/// SentencePiece's byte-pair encoding (Kudo and Richardson 2018): spaces are marked and one is put before every text; of all neighbors
/// that make a piece, those with the highest score merge, and of equal ones the leftmost, until no neighbors do.
/// </summary>
internal sealed class SentencePieceModel : SubwordModel
{
    private readonly SentencePieceFile file;
    private readonly SentencePieceCharacters table;
    private readonly CharacterIds characters = new();
    private readonly int[] byteIds = new int[256];
    private readonly PairMerges merges;
    private readonly AddedTokens userDefined;
    private readonly RunCuts? cuts;

    // Characters that take part in merges and are no pieces; their numbers follow those of the pieces.
    private readonly List<int> withoutPiece = [];

    /// <summary>Prepares the tables.</summary>
    /// <param name="file">The model's file.</param>
    /// <param name="path">Where it is, for messages.</param>
    public SentencePieceModel(SentencePieceFile file, string path)
    {
        (this.file, table) = (file, new(file.Characters, path));
        Array.Fill(byteIds, -1);
        Dictionary<string, int> ids = [];
        List<AddedToken> whole = [];
        for (int id = 0; id < file.Pieces.Count; id++)
        {
            (string text, _, PieceKind kind) = file.Pieces[id];
            if (kind == PieceKind.Normal) ids.TryAdd(text, id);
            else if (kind == PieceKind.UserDefined) whole.Add(new(text, id));
            else if (kind == PieceKind.Byte && ByteTokens.Of(text) is { } value) byteIds[value] = id;
        }
        userDefined = new(whole);
        merges = Merges(ids);
        bool inFront = ids.Keys.All(text => !text.AsSpan().TrimStart(SpaceMark).Contains(SpaceMark));
        if (inFront && !file.MarksBehind && whole.Count == 0) cuts = new(SpaceMark);
    }

    /// <inheritdoc/>
    public override void Encode(ReadOnlySpan<char> text, PartStart start, List<int> ids)
    {
        string marked = Marked(text, start);
        if (cuts is null)
        {
            AddPieces(marked, ids);
            return;
        }
        List<int> ends = [];
        cuts.Cut(marked, ends);
        int from = 0;
        foreach (int end in ends)
        {
            AddPieces(marked.AsSpan(from, end - from), ids);
            from = end;
        }
    }

    // Every way to make a piece of two others; a character that is no piece has a number of its own, above those of all pieces.
    private PairMerges Merges(Dictionary<string, int> ids)
    {
        foreach ((string text, int id) in ids)
            if (Single(text) is { } only) characters[only.Value] = id;
        foreach (Rune rune in ids.Keys.SelectMany(text => text.EnumerateRunes()))
        {
            if (characters[rune.Value] >= 0) continue;
            characters[rune.Value] = file.Pieces.Count + withoutPiece.Count;
            withoutPiece.Add(rune.Value);
        }
        // Pieces of equal scores merge from left to right.
        float[] scores = [.. ids.Values.Select(id => file.Pieces[id].Score).Distinct().OrderDescending()];
        Dictionary<float, int> ranks = scores.Select((score, rank) => (score, rank)).ToDictionary(s => s.score, s => s.rank);
        List<(int Left, int Right, int Rank, int Id)> pairs = [];
        Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> lookup = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        foreach ((string text, int id) in ids)
            for (int cut = 1; cut < text.Length; cut++)
                if (!char.IsLowSurrogate(text[cut]) && Find(text.AsSpan(0, cut)) is { } left && Find(text.AsSpan(cut)) is { } right)
                    pairs.Add((left, right, ranks[file.Pieces[id].Score], id));
        PairMerges result = new(pairs.Count);
        foreach ((int left, int right, int rank, int id) in pairs) result.Add(left, right, rank, id);
        return result;

        int? Find(ReadOnlySpan<char> text) => Single(text) is { } only ? characters[only.Value]
            : lookup.TryGetValue(text, out int id) ? id
            : null;
    }

    private static Rune? Single(ReadOnlySpan<char> text) =>
        Rune.DecodeFromUtf16(text, out Rune rune, out int units) == System.Buffers.OperationStatus.Done && units == text.Length
            ? rune
            : null;

    private void AddPieces(ReadOnlySpan<char> marked, List<int> ids)
    {
        for (int from = 0; from < marked.Length;)
        {
            (AddedToken Token, int Start, int End)? found = userDefined.Next(marked, from, FoundTokens.All);
            int end = found?.Start ?? marked.Length;
            Merge(marked[from..end], ids);
            if (found is { } piece) ids.Add(piece.Token.Id);
            from = found?.End ?? end;
        }
    }

    private void Merge(ReadOnlySpan<char> marked, List<int> ids)
    {
        int start = ids.Count;
        // A character that takes part in no merge is kept as the complement of its code point, which merges with nothing.
        foreach (Rune rune in marked.EnumerateRunes()) ids.Add(characters[rune.Value] is int id and >= 0 ? id : ~rune.Value);
        merges.Apply(ids, start);
        if (ids.FindIndex(start, id => id < 0 || id >= file.Pieces.Count) < 0) return;
        List<int> word = ids.GetRange(start, ids.Count - start);
        ids.RemoveRange(start, ids.Count - start);
        foreach (int id in word)
            if (id >= 0 && id < file.Pieces.Count) ids.Add(id);
            else AddUnknown(new Rune(id < 0 ? ~id : withoutPiece[id - file.Pieces.Count]), ids, start);
    }

    // A character that has no piece is its bytes, or with its neighbors of that kind the unknown piece.
    private void AddUnknown(Rune rune, List<int> ids, int start)
    {
        Span<byte> bytes = stackalloc byte[4];
        bytes = bytes[..rune.EncodeToUtf8(bytes)];
        if (file.FallsBackOnBytes && !byteIds.Contains(-1))
            foreach (byte b in bytes) ids.Add(byteIds[b]);
        else if (ids.Count == start || ids[^1] != file.Unknown) ids.Add(file.Unknown);
    }

    // The text with marks for spaces, as the file's normalizer writes it.
    private string Marked(ReadOnlySpan<char> text, PartStart start)
    {
        if (text.IsEmpty) return "";
        byte[] bytes = new byte[Encoding.UTF8.GetByteCount(text)];
        Encoding.UTF8.GetBytes(text, bytes);
        ReadOnlySpan<byte> rest = bytes;
        bool removes = file.RemovesSpaces, within = start == PartStart.Within;
        if (removes && !within)
            while (!rest.IsEmpty && table.Next(rest, out int length) is [(byte)' '])
                rest = rest[length..];
        if (rest.IsEmpty) return "";
        char space = file.EscapesSpaces ? SpaceMark : ' ';
        StringBuilder marked = new(text.Length + 1);
        if (file.AddsSpace && !file.MarksBehind && !within) marked.Append(space);
        bool afterSpace = removes && !within;
        while (!rest.IsEmpty)
        {
            ReadOnlySpan<byte> next = table.Next(rest, out int length);
            rest = rest[length..];
            if (afterSpace) next = next.TrimStart((byte)' ');
            if (next.IsEmpty) continue;
            foreach (char c in Encoding.UTF8.GetString(next)) marked.Append(c == ' ' ? space : c);
            afterSpace = removes && next[^1] == ' ';
        }
        if (removes)
            while (marked.Length > 0 && marked[^1] == space) marked.Length--;
        if (file.AddsSpace && file.MarksBehind) marked.Append(space);
        return marked.ToString();
    }
}
