namespace Nola.Models;

/// <summary>How pixels between pixels are made; the numbers are those of <c>resample</c> in Hugging Face's files.</summary>
public enum Resampling
{
    /// <summary>A triangle over the two nearest pixels.</summary>
    Bilinear = 2,

    /// <summary>A cubic of four, with a = −½.</summary>
    Bicubic = 3,
}

/// <summary>
/// Resizing as Pillow does it, to the bit: when a picture is made smaller the filter is widened by the scale, so that every pixel counts;
/// rows first and then columns, with weights of 22 bits, and each pass rounded to bytes.
/// </summary>
internal static class ImageResize
{
    private const int Precision = 32 - 8 - 2;

    /// <summary>The picture in another size; the same one when it has that size.</summary>
    public static RgbImage Resize(RgbImage image, int width, int height, Resampling filter)
    {
        RgbImage rows = image.Width == width ? image : new(width, image.Height, Rows(image, width, filter));
        return rows.Height == height ? rows : new(width, height, Columns(rows, height, filter));
    }

    private static byte[] Rows(RgbImage image, int width, Resampling filter)
    {
        (int First, int[] Weights)[] taps = Taps(image.Width, width, filter);
        byte[] result = new byte[3 * width * image.Height];
        for (int y = 0, at = 0; y < image.Height; y++)
            for (int x = 0; x < width; x++, at += 3)
                Mix(image.Pixels, 3 * (y * image.Width + taps[x].First), 3, taps[x].Weights, result.AsSpan(at, 3));
        return result;
    }

    private static byte[] Columns(RgbImage image, int height, Resampling filter)
    {
        (int First, int[] Weights)[] taps = Taps(image.Height, height, filter);
        byte[] result = new byte[3 * image.Width * height];
        for (int y = 0, at = 0; y < height; y++)
            for (int x = 0; x < image.Width; x++, at += 3)
                Mix(image.Pixels, 3 * (taps[y].First * image.Width + x), 3 * image.Width, taps[y].Weights, result.AsSpan(at, 3));
        return result;
    }

    private static void Mix(byte[] pixels, int at, int stride, int[] weights, Span<byte> pixel)
    {
        const int Half = 1 << (Precision - 1);
        int red = Half, green = Half, blue = Half;
        foreach (int weight in weights)
        {
            red += pixels[at] * weight;
            green += pixels[at + 1] * weight;
            blue += pixels[at + 2] * weight;
            at += stride;
        }
        (pixel[0], pixel[1], pixel[2]) = (Clip(red), Clip(green), Clip(blue));
    }

    private static byte Clip(int sum) => (byte)Math.Clamp(sum >> Precision, 0, 255);

    // For each pixel of the result the first that it is made of, and the weights from there on.
    private static (int First, int[] Weights)[] Taps(int from, int to, Resampling filter)
    {
        double scale = (double)from / to, widened = Math.Max(scale, 1), narrowed = 1 / widened;
        double reach = (filter == Resampling.Bilinear ? 1 : 2) * widened;
        (int, int[])[] taps = new (int, int[])[to];
        for (int i = 0; i < to; i++)
        {
            double center = (i + 0.5) * scale, sum = 0;
            int first = Math.Max(0, (int)(center - reach + 0.5)), end = Math.Min(from, (int)(center + reach + 0.5));
            double[] weights = new double[end - first];
            for (int j = 0; j < weights.Length; j++)
            {
                weights[j] = Weight((j + first - center + 0.5) * narrowed, filter);
                sum += weights[j];
            }
            taps[i] = (first, Array.ConvertAll(weights, weight => Fixed(sum != 0 ? weight / sum : weight)));
        }
        return taps;
    }

    private static int Fixed(double weight) => (int)(weight * (1 << Precision) + (weight < 0 ? -0.5 : 0.5));

    private static double Weight(double x, Resampling filter)
    {
        const double A = -0.5;
        x = Math.Abs(x);
        if (filter == Resampling.Bilinear) return x < 1 ? 1 - x : 0;
        if (x < 1) return ((A + 2) * x - (A + 3)) * x * x + 1;
        return x < 2 ? (((x - 5) * x + 8) * x - 4) * A : 0;
    }
}
