using Nola.Models;

namespace Nola.Train;

/// <summary>Changes of a picture's colors and sharpness, in place; bytes as torchvision and Pillow make them, up to rounding.</summary>
internal static class ImageColors
{
    /// <summary>Brightness, contrast, saturation and hue by dice, each from 1 − x to 1 + x (hue −x to x), in any order.</summary>
    public static void Jitter(RgbImage image, double brightness, double contrast, double saturation, double hue, ImageDice dice)
    {
        int[] order = [0, 1, 2, 3];
        for (int i = 3; i > 0; i--)
        {
            int j = dice.Below(i + 1);
            (order[i], order[j]) = (order[j], order[i]);
        }
        double b = dice.Between(1 - brightness, 1 + brightness), c = dice.Between(1 - contrast, 1 + contrast);
        double s = dice.Between(1 - saturation, 1 + saturation), h = dice.Between(-hue, hue);
        foreach (int step in order)
        {
            if (step == 0) Brighten(image, b);
            else if (step == 1) Contrast(image, c);
            else if (step == 2) Saturate(image, s);
            else Turn(image, h);
        }
    }

    /// <summary>Between black and the picture.</summary>
    public static void Brighten(RgbImage image, double factor)
    {
        foreach (ref byte value in image.Pixels.AsSpan()) value = Clip(factor * value);
    }

    /// <summary>Between its mean gray and the picture.</summary>
    public static void Contrast(RgbImage image, double factor)
    {
        long sum = 0;
        for (int i = 0; i < image.Pixels.Length; i += 3) sum += Gray(image.Pixels.AsSpan(i, 3));
        double mean = Math.Floor(3.0 * sum / image.Pixels.Length + 0.5);
        foreach (ref byte value in image.Pixels.AsSpan()) value = Clip(mean + factor * (value - mean));
    }

    /// <summary>Between gray and the picture; 0 for gray.</summary>
    public static void Saturate(RgbImage image, double factor)
    {
        for (int i = 0; i < image.Pixels.Length; i += 3)
        {
            Span<byte> pixel = image.Pixels.AsSpan(i, 3);
            int gray = Gray(pixel);
            foreach (ref byte value in pixel) value = Clip(gray + factor * (value - gray));
        }
    }

    /// <summary>Turns hues by a part of the circle.</summary>
    public static void Turn(RgbImage image, double part)
    {
        for (int i = 0; i < image.Pixels.Length; i += 3)
        {
            Span<byte> pixel = image.Pixels.AsSpan(i, 3);
            (double r, double g, double b) = (pixel[0], pixel[1], pixel[2]);
            double high = Math.Max(r, Math.Max(g, b)), spread = high - Math.Min(r, Math.Min(g, b));
            if (spread == 0) continue;
            double hue = high == r ? (g - b) / spread : high == g ? 2 + (b - r) / spread : 4 + (r - g) / spread;
            hue += 6 * part;
            for (int c = 0; c < 3; c++)
            {
                // Each channel is highest for two of the six sixths around its own, and falls to the lowest on both sides.
                double distance = Math.Abs((hue - 2 * c) % 6);
                if (distance > 3) distance = 6 - distance;
                pixel[c] = Clip(high - spread * Math.Clamp(distance - 1, 0, 1));
            }
        }
    }

    /// <summary>A Gaussian of that deviation, three deviations wide; edges repeated.</summary>
    public static void Blur(RgbImage image, double deviation)
    {
        int reach = Math.Max(1, (int)Math.Ceiling(3 * deviation));
        double[] weights = [.. Enumerable.Range(-reach, 2 * reach + 1).Select(x => Math.Exp(-x * x / (2 * deviation * deviation)))];
        double sum = weights.Sum();
        for (int i = 0; i < weights.Length; i++) weights[i] /= sum;
        for (int y = 0; y < image.Height; y++) Line(image.Pixels, 3 * y * image.Width, 3, image.Width, weights);
        for (int x = 0; x < image.Width; x++) Line(image.Pixels, 3 * x, 3 * image.Width, image.Height, weights);
    }

    // One row or column.
    private static void Line(byte[] pixels, int first, int stride, int count, double[] weights)
    {
        int reach = weights.Length / 2;
        byte[] line = new byte[3 * count];
        for (int i = 0; i < count; i++) pixels.AsSpan(first + i * stride, 3).CopyTo(line.AsSpan(3 * i));
        for (int i = 0; i < count; i++)
        {
            for (int c = 0; c < 3; c++)
            {
                double sum = 0;
                for (int j = 0; j < weights.Length; j++) sum += weights[j] * line[3 * Math.Clamp(i + j - reach, 0, count - 1) + c];
                pixels[first + i * stride + c] = Clip(sum + 0.5);
            }
        }
    }

    // Of ITU-R 601-2, as Pillow has it.
    private static int Gray(ReadOnlySpan<byte> pixel) => (pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + 0x8000) >> 16;

    private static byte Clip(double value) => (byte)Math.Clamp(value, 0, 255);
}
