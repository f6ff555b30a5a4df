using Nola.Models;

namespace Nola.Train;

/// <summary>How images are changed from one epoch to the next while a model learns.</summary>
public enum Augmentation
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>A part of 50 to 100 % of the area, in the size that the model reads.</summary>
    Crop,

    /// <summary>
    /// What NOLA's code for ViT does, which is MoCo v2's (Chen et al. 2020): a part of 20 to 100 % of the area, brightness, contrast,
    /// saturation and hue, sometimes gray, sometimes blurred, and mirrored every other time.
    /// </summary>
    Published,
}

/// <summary>Changes images by dice.</summary>
internal static class ImageAugmentation
{
    /// <summary>An image as a model reads it, changed.</summary>
    /// <param name="image">The picture as it is.</param>
    /// <param name="kind">How much.</param>
    /// <param name="preprocessor">What the model does to pictures; it also says the size.</param>
    /// <param name="dice">The image's own.</param>
    public static RgbImage Apply(RgbImage image, Augmentation kind, ImagePreprocessor preprocessor, ImageDice dice)
    {
        if (kind == Augmentation.None || preprocessor.Output is not { } size) return preprocessor.Fit(image);
        RgbImage part = RandomPart(image, kind == Augmentation.Crop ? 0.5 : 0.2, dice);
        byte[] pixels = ImageResize.Resize(part, size.Width, size.Height, preprocessor.Resample).Pixels.ToArray();
        RgbImage result = new(size.Width, size.Height, pixels);
        if (kind == Augmentation.Crop) return result;
        if (dice.Hits(0.8)) ImageColors.Jitter(result, 0.4, 0.4, 0.4, 0.1, dice);
        if (dice.Hits(0.2)) ImageColors.Saturate(result, 0);
        if (dice.Hits(0.5)) ImageColors.Blur(result, dice.Between(0.1, 2));
        return dice.Hits(0.5) ? result.Upright(2) : result;
    }

    // torchvision's RandomResizedCrop: area and ratio by dice, ten times, else the middle.
    private static RgbImage RandomPart(RgbImage image, double least, ImageDice dice)
    {
        const double Narrowest = 3.0 / 4, Widest = 4.0 / 3;
        double area = (double)image.Width * image.Height;
        for (int attempt = 0; attempt < 10; attempt++)
        {
            double wanted = area * dice.Between(least, 1), ratio = Math.Exp(dice.Between(Math.Log(Narrowest), Math.Log(Widest)));
            int w = (int)Math.Round(Math.Sqrt(wanted * ratio)), h = (int)Math.Round(Math.Sqrt(wanted / ratio));
            if (w < 1 || h < 1 || w > image.Width || h > image.Height) continue;
            int top = dice.Below(image.Height - h + 1), left = dice.Below(image.Width - w + 1);
            return Part(image, top, left, h, w);
        }
        double shape = (double)image.Width / image.Height;
        int width = shape > Widest ? (int)Math.Round(image.Height * Widest) : image.Width;
        int height = shape < Narrowest ? (int)Math.Round(image.Width / Narrowest) : image.Height;
        return Part(image, (image.Height - height) / 2, (image.Width - width) / 2, height, width);
    }

    private static RgbImage Part(RgbImage image, int top, int left, int height, int width)
    {
        byte[] pixels = new byte[3 * height * width];
        for (int y = 0; y < height; y++)
            image.Pixels.AsSpan(3 * ((top + y) * image.Width + left), 3 * width).CopyTo(pixels.AsSpan(3 * y * width));
        return new RgbImage(width, height, pixels);
    }
}
