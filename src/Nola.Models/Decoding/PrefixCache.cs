namespace Nola.Models;

/// <summary>
/// What was read before, by adapter and tokens: a prompt that begins like it begins with its keys and values. They are those that the
/// prompt would make, to the bit, since they follow from the tokens and the content of the adapter alone. The least recently used
/// leave when there are too many.
/// </summary>
/// <param name="cache">Where keys and values are.</param>
/// <param name="most">Most tokens that are kept.</param>
internal sealed class PrefixCache(KvCache cache, int most)
{
    private readonly Dictionary<string, List<Entry>> entries = [];
    private long clock;

    /// <summary>What tells the readers of a text apart: the content of an adapter; null for one that may change.</summary>
    public static string? KeyOf(IAdapter? adapter) => adapter switch
    {
        null => "",
        LoadedAdapter loaded => loaded.Digest,
        _ => null,
    };

    /// <summary>
    /// Rows of the cache for the first tokens of a prompt, as many as are known, but not for its last one, whose logits are wanted.
    /// </summary>
    public ReadOnlyMemory<int> Find(string key, int[] prompt)
    {
        (Entry? best, int count) = (null, 0);
        foreach (Entry entry in entries.GetValueOrDefault(key, []))
        {
            int common = prompt.AsSpan(0, prompt.Length - 1).CommonPrefixLength(entry.Tokens);
            if (common > count) (best, count) = (entry, common);
        }
        if (best is null) return default;
        best.Used = ++clock;
        return best.Rows.AsMemory(0, count);
    }

    /// <summary>Keeps the first tokens of a slot; what they go on from is not kept twice.</summary>
    public void Add(string key, int[] tokens, int slot)
    {
        if (tokens.Length == 0 || tokens.Length > most) return;
        if (!entries.TryGetValue(key, out List<Entry>? own)) entries[key] = own = [];
        if (own.Find(entry => entry.Tokens.AsSpan().StartsWith(tokens)) is { } longer)
        {
            longer.Used = ++clock;
            return;
        }
        Entry added = new(tokens, cache.Hold(slot, tokens.Length)) { Used = ++clock };
        foreach (Entry shorter in own.Where(entry => tokens.AsSpan().StartsWith(entry.Tokens))) cache.Drop(shorter.Rows);
        own.RemoveAll(entry => tokens.AsSpan().StartsWith(entry.Tokens));
        own.Add(added);
        while (cache.HeldRows > most) DropOldest();
    }

    private void DropOldest()
    {
        (string key, Entry oldest) = entries.SelectMany(own => own.Value.Select(entry => (own.Key, entry))).MinBy(own => own.entry.Used);
        cache.Drop(oldest.Rows);
        entries[key].Remove(oldest);
        if (entries[key].Count == 0) entries.Remove(key);
    }

    private sealed class Entry(int[] tokens, int[] rows)
    {
        public int[] Tokens => tokens;

        public int[] Rows => rows;

        public long Used { get; set; }
    }
}
