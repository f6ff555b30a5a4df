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
        InvalidDataException error = Assert.Throws<InvalidDataException>(() => TileTable.FromJson("""{"source": "a test", "rules": [{"tiles": 0, "depth": 0, "tile": "512x512"}]}"""));
        Assert.Contains("'512x512'; there are 64x64", error.Message);
    }
}
