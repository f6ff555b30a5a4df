using Nola.GpuBench;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>The table that cuts products into tiles.</summary>
public sealed class TileTableTests
{
    [Fact]
    public void The_embedded_table_has_a_tile_for_every_shape_and_says_where_it_is_from()
    {
        Assert.NotEmpty(TileTable.Embedded.Source);
        Assert.Equal((0, 0), (TileTable.Embedded.Rules[^1].Tiles, TileTable.Embedded.Rules[^1].Depth));
        foreach (int size in (ReadOnlySpan<int>)[17, 64, 129, 1000, 8192, 50_257]) Assert.NotNull(TileTable.Embedded.For(size, size, size));
    }

    [Fact]
    public void The_first_rule_that_fits_decides()
    {
        TileTable table = new("a test", [new(4, 1024, "256x128"), new(4, 0, "128x128"), new(0, 0, "64x64")]);
        Assert.Equal("64x64", table.For(128, 384, 5000).Name);
        Assert.Equal("128x128", table.For(256, 256, 1023).Name);
        Assert.Equal("256x128", table.For(129, 129, 1024).Name);
    }

    [Fact]
    public void A_table_survives_its_file() =>
        Assert.Equal(TileTable.Embedded.Rules, TileTable.FromJson(TileTable.Embedded.ToJson()).Rules);

    [Fact]
    public void An_unknown_tile_is_named()
    {
        InvalidDataException error = Assert.Throws<InvalidDataException>(
            () => TileTable.FromJson("""{"source": "a test", "rules": [{"tiles": 0, "depth": 0, "tile": "512x512"}]}"""));
        Assert.Contains("'512x512'; there are 64x64", error.Message);
    }

    [Fact]
    public void The_bench_gives_each_cell_the_tile_that_loses_least()
    {
        TileTable table = TileChoice.Table(
        [
            // Two products in one cell: 128x64 is second in both, and better over both than the two firsts.
            .. Times(1024, 1024, 768, ("64x64", 1.0), ("128x64", 1.1), ("128x128", 2.0)),
            .. Times(1024, 1152, 768, ("64x64", 2.0), ("128x64", 1.1), ("128x128", 1.0)),
            // Deeper ones of the same cell of sizes: one tile for both depths, so one rule.
            .. Times(1024, 1024, 1024, ("64x64", 1.0), ("128x128", 0.9)),
            .. Times(1024, 1024, 4096, ("64x64", 1.0), ("128x128", 0.9)),
            .. Times(8192, 2304, 768, ("128x128", 1.0), ("256x128", 0.9)),
        ], "a test");
        Assert.Equal([new(1024, 512, "256x128"), new(64, 1024, "128x128"), new(64, 512, "128x64"), new(0, 0, "128x64")], table.Rules);

        static IEnumerable<TileTime> Times(int m, int n, int k, params (string Tile, double Seconds)[] times) =>
            times.Select(t => new TileTime(m, n, k, "a · b", t.Tile, t.Seconds));
    }
}
