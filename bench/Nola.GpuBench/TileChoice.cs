using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>How long one tile took for one product c (M, N) = a (M, K) · b (K, N) in one order of its operands.</summary>
internal sealed record TileTime(int M, int N, int K, string Order, string Tile, double Seconds);

/// <summary>From measured products to a table of tiles.</summary>
internal static class TileChoice
{
    private static readonly int[] squares = [0, 16, 32, 64, 128, 256, 512, 1024], depths = [0, 512, 1024, 2048, 4096];

    /// <summary>
    /// Products are put into cells by the tiles of 128 × 128 of their results and by their depths; a cell gets the tile whose
    /// time, relative to each product's best, has the least geometric mean. A cell without products takes the next shallower
    /// one's tile, or the next smaller one's.
    /// </summary>
    public static TileTable Table(IReadOnlyList<TileTime> times, string source)
    {
        Dictionary<(int M, int N, int K, string Order), double> best = times.GroupBy(t => (t.M, t.N, t.K, t.Order)).ToDictionary(
            g => g.Key, g => g.Min(t => t.Seconds));
        List<TileTable.Rule> rules = [];
        foreach (IGrouping<(int Squares, int Depth), TileTime> cell in times
            .GroupBy(t => (Edge(squares, TileTable.Squares(t.M, t.N)), Edge(depths, t.K)))
            .OrderByDescending(g => g.Key))
        {
            string tile = cell.GroupBy(t => t.Tile).MinBy(g => g.Average(t => Math.Log(t.Seconds / best[(t.M, t.N, t.K, t.Order)])))!.Key;
            // The rule before is for deeper products of as many tiles: it says nothing when this one says the same.
            if (rules.Count > 0 && rules[^1] is { } last && last.Tiles == cell.Key.Squares && last.Tile == tile)
                rules.RemoveAt(rules.Count - 1);
            rules.Add(new(cell.Key.Squares, cell.Key.Depth, tile));
        }
        if (rules[^1] is not { Tiles: 0, Depth: 0 }) rules.Add(new(0, 0, rules[^1].Tile));
        return new(source, rules);
    }

    private static int Edge(int[] edges, int value) => edges.Last(edge => edge <= value);
}
