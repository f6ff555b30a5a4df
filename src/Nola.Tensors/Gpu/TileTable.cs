using System.Text.Json;

namespace Nola.Tensors;

/// <summary>
/// Which tile a product on tensor cores is cut into, by how many tiles of 128 × 128 its result has and how deep its inner
/// dimension is: numbers of the shape alone, so that neither the card nor a clock decides how a sum is taken. The table is
/// part of the program (<c>Gpu/tiles.json</c>); <c>bench/gpu.sh --tiles</c> measures and writes one.
/// </summary>
/// <param name="Source">Where its rules come from, in a sentence.</param>
/// <param name="Rules">The first that fits decides; the last fits everything.</param>
internal sealed record TileTable(string Source, IReadOnlyList<TileTable.Rule> Rules)
{
    private static readonly JsonSerializerOptions format =
        JsonForms.ByReflection(new(JsonSerializerDefaults.Web) { WriteIndented = true });

    /// <summary>The table that this program was built with.</summary>
    public static TileTable Embedded { get; } = Read();

    /// <summary>A table of one tile.</summary>
    public static TileTable Always(TensorTile tile) => new($"{tile.Name} always", [new(0, 0, tile.Name)]);

    /// <summary>Tiles of 128 × 128 of a result.</summary>
    public static int Squares(int m, int n) => ((m + 127) / 128) * ((n + 127) / 128);

    /// <summary>The tile for c (m, n) = a (m, k) · b (k, n).</summary>
    public TensorTile For(int m, int n, int k)
    {
        int squares = Squares(m, n);
        foreach (Rule rule in Rules)
            if (squares >= rule.Tiles && k >= rule.Depth) return rule.Cut;
        throw new InvalidOperationException(
            $"The table of tiles ({Source}) has no rule for {squares} tiles of depth {k}; its last rule must be for 0 tiles and depth 0.");
    }

    /// <summary>The table as <c>Gpu/tiles.json</c> holds it.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, format) + "\n";

    /// <summary>A table from its text.</summary>
    public static TileTable FromJson(string json) =>
        JsonSerializer.Deserialize<TileTable>(json, format) ?? throw new InvalidDataException("The table of tiles is empty.");

    private static TileTable Read()
    {
        using Stream stream = typeof(TileTable).Assembly.GetManifestResourceStream("tiles.json")
            ?? throw new InvalidDataException("The program was built without its table of tiles.");
        using StreamReader reader = new(stream);
        return FromJson(reader.ReadToEnd());
    }

    /// <summary>Results of at least so many tiles of 128 × 128 and so many steps are cut into <paramref name="Tile"/>.</summary>
    internal sealed record Rule(int Tiles, int Depth, string Tile)
    {
        /// <summary>The tile of that name.</summary>
        internal TensorTile Cut { get; } = TensorTile.All.FirstOrDefault(t => t.Name == Tile)
            ?? throw new InvalidDataException(
                $"The table of tiles names '{Tile}'; there are {string.Join(", ", TensorTile.All.Select(t => t.Name))}.");
    }
}
