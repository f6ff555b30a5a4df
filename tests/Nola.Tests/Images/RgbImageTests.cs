using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Pictures of every kind that PNG and JPEG have, and files that are none.</summary>
public sealed class RgbImageTests
{
    [Theory]
    [InlineData(1, new byte[] { 0, 0b1010_0000 }, new byte[] { 255, 0, 255 })]
    [InlineData(2, new byte[] { 0, 0b0001_1011 }, new byte[] { 0, 85, 170 })]
    [InlineData(4, new byte[] { 0, 0x0F, 0x70 }, new byte[] { 0, 255, 119 })]
    [InlineData(8, new byte[] { 0, 7, 200, 255 }, new byte[] { 7, 200, 255 })]
    [InlineData(16, new byte[] { 0, 7, 99, 200, 255, 255, 1 }, new byte[] { 7, 200, 255 })]
    public void Gray_of_any_depth_becomes_three_equal_channels(int depth, byte[] row, byte[] gray) =>
        Assert.Equal([.. gray.SelectMany(v => (byte[])[v, v, v])], RgbImage.Decode(PictureFiles.Png(3, 1, depth, 0, [row]), "p").Pixels);

    [Fact]
    public void Alpha_is_dropped_and_of_sixteen_bits_the_upper_eight_are_taken()
    {
        Assert.Equal(
            [1, 2, 3, 9, 8, 7], RgbImage.Decode(PictureFiles.Png(2, 1, 8, 6, [[0, 1, 2, 3, 0, 9, 8, 7, 255]]), "p").Pixels);
        Assert.Equal([5, 5, 5, 6, 6, 6], RgbImage.Decode(PictureFiles.Png(2, 1, 8, 4, [[0, 5, 0, 6, 77]]), "p").Pixels);
        Assert.Equal([1, 2, 3], RgbImage.Decode(PictureFiles.Png(1, 1, 16, 2, [[0, 1, 255, 2, 255, 3, 255]]), "p").Pixels);
        Assert.Equal([1, 2, 3], RgbImage.Decode(PictureFiles.Png(1, 1, 16, 6, [[0, 1, 255, 2, 255, 3, 255, 0, 0]]), "p").Pixels);
    }

    [Fact]
    public void A_palette_gives_its_colors_and_black_for_what_it_does_not_have()
    {
        byte[] file = PictureFiles.Png(4, 1, 2, 3, [[0, 0b0001_1011]], palette: [10, 20, 30, 40, 50, 60, 70, 80, 90]);
        Assert.Equal([10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 0, 0], RgbImage.Decode(file, "p").Pixels);
    }

    [Fact]
    public void Filters_of_rows_are_undone()
    {
        byte[][] rows =
        [
            [1, 10, 20, 30, 1, 1, 1], [2, 1, 1, 1, 1, 1, 1], [3, 5, 5, 5, 5, 5, 5], [4, 1, 2, 3, 4, 5, 6],
        ];
        byte[] wanted =
        [
            10, 20, 30, 11, 21, 31, 11, 21, 31, 12, 22, 32, 10, 15, 20, 16, 23, 31, 11, 17, 23, 20, 28, 37,
        ];
        Assert.Equal(wanted, RgbImage.Decode(PictureFiles.Png(2, 4, 8, 2, rows), "p").Pixels);
    }

    [Fact]
    public void Interlaced_it_is_the_same_picture()
    {
        const int Width = 13, Height = 11;
        byte[] gray = [.. Enumerable.Range(0, Width * Height).Select(i => (byte)(i * 7))];
        List<byte[]> rows = [];
        foreach ((int x0, int y0, int dx, int dy) in ((int, int, int, int)[])
            [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)])
            for (int y = y0; y < Height; y += dy)
            {
                List<byte> row = [0];
                for (int x = x0; x < Width; x += dx) row.Add(gray[y * Width + x]);
                if (row.Count > 1) rows.Add([.. row]);
            }
        RgbImage image = RgbImage.Decode(PictureFiles.Png(Width, Height, 8, 0, [.. rows], interlaced: true), "p");
        Assert.Equal(gray, image.Pixels.Where((_, i) => i % 3 == 0));
    }

    // A row of two pixels a b over one of c d, as each of the eight ways of lying shows it when it is turned upright.
    [Theory]
    [InlineData(1, "abcdef", 3)]
    [InlineData(2, "cbafed", 3)]
    [InlineData(3, "fedcba", 3)]
    [InlineData(4, "defabc", 3)]
    [InlineData(5, "adbecf", 2)]
    [InlineData(6, "daebfc", 2)]
    [InlineData(7, "fcebda", 2)]
    [InlineData(8, "cfbead", 2)]
    public void What_EXIF_calls_rotated_is_turned_upright(byte orientation, string upright, int width)
    {
        foreach (bool little in (bool[])[false, true])
        {
            byte[] file = PictureFiles.Png(
                3, 2, 8, 0, [[0, .. "abc"u8], [0, .. "def"u8]], more: ("eXIf", PictureFiles.Orientation(orientation, little)));
            RgbImage image = RgbImage.Decode(file, "p");
            Assert.Equal(width, image.Width);
            Assert.Equal(upright, new string([.. image.Pixels.Where((_, i) => i % 3 == 0).Select(b => (char)b)]));
            byte[] jpeg = PictureFiles.Jpeg(16, 8, 1, new byte[128], PictureFiles.Orientation(orientation, little));
            Assert.Equal(width == 3 ? 16 : 8, RgbImage.Decode(jpeg, "j").Width);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void JPEG_in_color_and_gray_has_its_colors(bool progressive)
    {
        byte[] samples = [.. Enumerable.Range(0, 16 * 16).SelectMany(i => (byte[])[(byte)(i % 16 * 10), (byte)(i / 16 * 10), 90])];
        RgbImage color = RgbImage.Decode(PictureFiles.Jpeg(16, 16, 3, samples, progressive: progressive), "j");
        // At the best quality what is lost is rounding, and the sharpness of colors.
        Assert.True(color.Pixels.Zip(samples, (a, b) => Math.Abs(a - b)).Average() < 3);
        byte[] gray = [.. Enumerable.Range(0, 16 * 16).Select(i => (byte)i)];
        RgbImage one = RgbImage.Decode(PictureFiles.Jpeg(16, 16, 1, gray, progressive: progressive), "j");
        Assert.All(Enumerable.Range(0, 256), i => Assert.InRange(one.Pixels[3 * i], gray[i] - 2, gray[i] + 2));
        Assert.All(Enumerable.Range(0, 256), i => Assert.Equal(one.Pixels[3 * i], one.Pixels[3 * i + 2]));
    }

    [Fact]
    public void JPEG_of_four_inks_becomes_red_green_and_blue()
    {
        // What is left of white by each ink: full red, and half of everything by black alone.
        byte[] samples = [.. Enumerable.Range(0, 64).SelectMany(i => i < 32 ? (byte[])[255, 0, 0, 255] : [255, 255, 255, 128])];
        RgbImage image = RgbImage.Decode(PictureFiles.Jpeg(8, 8, 4, samples), "j");
        Assert.All(Enumerable.Range(0, 3), c => Assert.InRange(image.Pixels[c], c == 0 ? 250 : 0, c == 0 ? 255 : 5));
        Assert.All(Enumerable.Range(0, 3), c => Assert.InRange(image.Pixels[3 * 63 + c], 124, 132));
    }

    [Fact]
    public void Damaged_and_huge_files_are_refused_in_one_sentence()
    {
        RgbImage image = new(20, 20, [.. Enumerable.Range(0, 1200).Select(i => (byte)(i * i))]);
        byte[] png = PictureFiles.Png(image), jpeg = PictureFiles.Jpeg(20, 20, 3, image.Pixels);
        Assert.Equal(image.Pixels, RgbImage.Decode(png, "x.png").Pixels);
        Assert.Equal("x.png: is no whole PNG image (it ends in the middle); take another copy of it.", Refused(png[..^20], "x.png"));
        for (int length = 8; length < png.Length; length += 41) Assert.Contains("is no whole PNG", Refused(png[..length], "x.png"));
        for (int at = 8; at < png.Length; at += 13)
        {
            byte[] changed = [.. png];
            changed[at] ^= 0x55;
            Assert.StartsWith("x.png: is no whole PNG image (", Refused(changed, "x.png"));
        }
        Assert.Equal(20, RgbImage.Decode(jpeg, "x.jpg").Width);
        for (int length = 3; length < jpeg.Length - 2; length += 29)
            Assert.StartsWith("x.jpg: is no whole JPEG image (", Refused(jpeg[..length], "x.jpg"));
        Random random = new(1);
        for (int i = 0; i < 300; i++)
        {
            byte[] changed = [.. jpeg];
            for (int n = 0; n < 3; n++) changed[random.Next(3, jpeg.Length)] = (byte)random.Next(256);
            try
            {
                RgbImage.Decode(changed, "x.jpg");
            }
            catch (NolaException error)
            {
                Assert.StartsWith("x.jpg: is ", error.Message);
            }
        }
        byte[] bomb = PictureFiles.Png(30_000, 30_000, 8, 2, []);
        Assert.Equal(
            "b.png: is an image of 30000 × 30000 pixels, and at most 89,478,485 pixels are read; scale it down.", Refused(bomb, "b.png"));
        Assert.Equal("e.png: is empty; expected a PNG or JPEG image.", Refused([], "e.png"));
        Assert.Contains("is no PNG and no JPEG image", Refused([.. "GIF89a"u8], "g.gif"));
    }

    private static string Refused(byte[] file, string place) =>
        Assert.Throws<NolaException>(() => RgbImage.Decode(file, place)).Message;
}
