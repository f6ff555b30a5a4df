using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// What is done to a picture before a model reads it, as <c>preprocessor_config.json</c> has it: resize, cut out the center, scale bytes
/// to numbers, normalize. Pixels are those of Hugging Face's slow processors (Pillow), to the bit.
/// </summary>
public sealed record ImagePreprocessor
{
    private const string FileName = "preprocessor_config.json";

    // Far larger than any model reads.
    private const int LargestSide = 16_384;

    private static readonly float[] imageNetMean = [0.485f, 0.456f, 0.406f], imageNetDeviation = [0.229f, 0.224f, 0.225f];

    private static readonly string[] silent =
    [
        "image_processor_type", "feature_extractor_type", "processor_class", "do_convert_rgb", "_valid_processor_keys",
        "data_format", "input_data_format", "device", "return_tensors", "default_to_square", "disable_grouping",
    ];

    private static readonly string[] known =
    [
        "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize", "image_mean",
        "image_std",
    ];

    /// <summary>Height and width that the picture is brought to, whatever its shape; null where it is not.</summary>
    public (int Height, int Width)? Size { get; init; }

    /// <summary>What its shorter side is brought to, its shape staying as it is; null where it is not.</summary>
    public int? ShortestEdge { get; init; }

    /// <summary>How pixels between pixels are made.</summary>
    public Resampling Resample { get; init; } = Resampling.Bilinear;

    /// <summary>Height and width that are cut out of the middle; null for the whole.</summary>
    public (int Height, int Width)? Crop { get; init; }

    /// <summary>
    /// Where the margin is odd: whether the cut is at the even one of the two halves, as torchvision and timm have it, and not always at
    /// the lower.
    /// </summary>
    public bool CropsToEven { get; init; }

    /// <summary>What bytes are multiplied by.</summary>
    public double Rescale { get; init; } = 1.0 / 255;

    /// <summary>What is subtracted from red, green and blue.</summary>
    public IReadOnlyList<float> Mean { get; init; } = [0.5f, 0.5f, 0.5f];

    /// <summary>What red, green and blue are divided by then.</summary>
    public IReadOnlyList<float> Deviation { get; init; } = [0.5f, 0.5f, 0.5f];

    /// <summary>ViT's own: resize to a square, bilinear, to numbers from −1 to 1.</summary>
    /// <param name="side">Pixels of a side.</param>
    public static ImagePreprocessor Square(int side) => new() { Size = (side, side) };

    /// <summary>DINOv2's own: the shorter side to 256 pixels, bicubic, the middle 224 of it, by ImageNet's means and deviations.</summary>
    public static ImagePreprocessor Dinov2 { get; } = new()
    {
        ShortestEdge = 256,
        Resample = Resampling.Bicubic,
        Crop = (224, 224),
        Mean = imageNetMean,
        Deviation = imageNetDeviation,
    };

    /// <summary>Reads a <c>preprocessor_config.json</c>, or the one in a directory.</summary>
    /// <param name="path">The file or the directory.</param>
    /// <exception cref="NolaException">There is none, or it asks for something that is not supported; the message names it.</exception>
    public static ImagePreprocessor Read(string path)
    {
        string file = Directory.Exists(path) ? Path.Combine(path, FileName) : path;
        using JsonDocument document = JsonInput.Read(file);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
            throw new NolaException($"{file}: expected a JSON object, as image processors write it.");
        return Parse(new ConfigFields(document.RootElement, file));
    }

    /// <summary>That of a model's directory; null where it has none.</summary>
    internal static ImagePreprocessor? Find(string? directory) =>
        directory is not null && File.Exists(Path.Combine(directory, FileName)) ? Read(directory) : null;

    /// <summary>The file that <see cref="Read"/> reads.</summary>
    internal string ToJson()
    {
        Dictionary<string, object?> fields = new()
        {
            ["image_processor_type"] = ShortestEdge is null ? "ViTImageProcessor" : "CLIPImageProcessor",
            ["do_resize"] = Size is not null || ShortestEdge is not null,
            ["size"] = Size is { } size ? Sides(size) : new Dictionary<string, int> { ["shortest_edge"] = ShortestEdge ?? 224 },
            ["resample"] = (int)Resample,
            ["do_rescale"] = true,
            ["rescale_factor"] = Rescale,
            ["do_normalize"] = true,
            ["image_mean"] = Mean.Select(StrictNumber.Shortest),
            ["image_std"] = Deviation.Select(StrictNumber.Shortest),
        };
        if (Crop is { } crop) (fields["do_center_crop"], fields["crop_size"]) = (true, Sides(crop));
        return JsonSerializer.Serialize(fields, JsonForms.Indented);

        static Dictionary<string, int> Sides((int Height, int Width) size) =>
            new() { ["height"] = size.Height, ["width"] = size.Width };
    }

    /// <summary>timm's evaluation of a model: the shorter side to a little more than what is read, and the middle of it.</summary>
    /// <param name="fields">Its <c>pretrained_cfg</c>.</param>
    /// <param name="side">Pixels of a side that the model reads.</param>
    internal static ImagePreprocessor OfTimm(ConfigFields fields, int side)
    {
        if (fields.Text("crop_mode") is { } mode && mode != "center") throw fields.Bad("crop_mode", "only \"center\" is supported");
        Resampling filter = fields.Text("interpolation") switch
        {
            null or "bicubic" => Resampling.Bicubic,
            "bilinear" => Resampling.Bilinear,
            _ => throw fields.Bad("interpolation", "supported are \"bilinear\" and \"bicubic\""),
        };
        double part = fields.Positive("crop_pct") ?? 0.875;
        if (part > 1) throw fields.Bad("crop_pct", "expected at most 1");
        int shortest = (int)Math.Floor(side / part);
        if (shortest > LargestSide) throw fields.Bad("crop_pct", $"with it pictures get more than {LargestSide} pixels a side");
        return new()
        {
            ShortestEdge = shortest,
            Resample = filter,
            Crop = (side, side),
            CropsToEven = true,
            Mean = Three(fields, "mean") ?? imageNetMean,
            Deviation = Three(fields, "std") ?? imageNetDeviation,
        };
    }

    /// <summary>Height and width of what comes out; null where they are the picture's own, or follow its shape.</summary>
    public (int Height, int Width)? Output => Crop ?? Size;

    /// <summary>The same for a model that reads squares of another size.</summary>
    /// <param name="side">Pixels of a side.</param>
    public ImagePreprocessor For(int side)
    {
        if (Output == (side, side)) return this;
        if (Crop is { } crop && ShortestEdge is { } edge)
        {
            long wanted = (long)edge * side / Math.Min(crop.Height, crop.Width);
            return this with { Crop = (side, side), ShortestEdge = (int)Math.Min(wanted, LargestSide) };
        }
        return this with { Size = (side, side), ShortestEdge = null, Crop = null };
    }

    /// <summary>The picture as the model sees it, still as bytes: resized and cut.</summary>
    public RgbImage Fit(RgbImage image)
    {
        if (Size is { } size) image = ImageResize.Resize(image, size.Width, size.Height, Resample);
        else if (ShortestEdge is { } edge) image = Shortened(image, edge);
        return Crop is { } crop ? Cut(image, crop.Height, crop.Width) : image;
    }

    /// <summary>Bytes as numbers, (byte · rescale − mean) / deviation, channel by channel. (3, height, width)</summary>
    public float[] Normalize(RgbImage image)
    {
        int area = image.Width * image.Height;
        float[] numbers = new float[3 * area];
        for (int channel = 0; channel < 3; channel++)
        {
            (float mean, float deviation) = (Mean[channel], Deviation[channel]);
            for (int i = 0; i < area; i++)
                numbers[channel * area + i] = ((float)(image.Pixels[3 * i + channel] * Rescale) - mean) / deviation;
        }
        return numbers;
    }

    /// <summary>The picture as the model's numbers: fitted and normalized. (3, height, width)</summary>
    internal float[] Prepare(RgbImage image) => Normalize(Fit(image));

    private RgbImage Shortened(RgbImage image, int edge)
    {
        bool high = image.Height >= image.Width;
        (int shorter, int longer) = high ? (image.Width, image.Height) : (image.Height, image.Width);
        long other = (long)edge * longer / shorter;
        if (other * edge > RgbImage.MostPixels)
            throw new NolaException(
                $"An image of {image.Width} × {image.Height} pixels would get {other} on its longer side; cut it to a less narrow shape.");
        return high
            ? ImageResize.Resize(image, edge, (int)other, Resample)
            : ImageResize.Resize(image, (int)other, edge, Resample);
    }

    // Where the picture is smaller than the cut there is black around it.
    private RgbImage Cut(RgbImage image, int height, int width)
    {
        if (image.Height == height && image.Width == width) return image;
        (int top, int left) = (Margin(image.Height - height), Margin(image.Width - width));
        byte[] pixels = new byte[3 * height * width];
        int from = Math.Max(0, left), count = Math.Min(image.Width, left + width) - from;
        for (int y = Math.Max(0, -top); y < height && y + top < image.Height; y++)
            image.Pixels.AsSpan(3 * ((y + top) * image.Width + from), 3 * count).CopyTo(pixels.AsSpan(3 * (y * width + from - left)));
        return new RgbImage(width, height, pixels);
    }

    private int Margin(int difference) => CropsToEven && difference > 0
        ? (int)Math.Round(difference / 2.0, MidpointRounding.ToEven)
        : difference >> 1;

    private static ImagePreprocessor Parse(ConfigFields fields)
    {
        foreach (string name in fields.Names)
            if (!known.Contains(name) && !silent.Contains(name) && fields.Given(name) is { ValueKind: not JsonValueKind.False })
                throw fields.Bad(name, "no such step is supported");
        bool resizes = fields.Flag("do_resize") ?? true, rescales = fields.Flag("do_rescale") ?? true;
        bool crops = fields.Flag("do_center_crop") ?? false, normalizes = fields.Flag("do_normalize") ?? true;
        ((int, int)? size, int? shortest) = resizes ? SizeOf(fields) : (null, null);
        return new()
        {
            Size = size,
            ShortestEdge = shortest,
            Resample = ResamplingOf(fields),
            Crop = crops ? Sides(fields, "crop_size") ?? (224, 224) : null,
            Rescale = rescales ? fields.Positive("rescale_factor") ?? 1.0 / 255 : 1,
            Mean = normalizes ? Three(fields, "image_mean") ?? [0.5f, 0.5f, 0.5f] : [0, 0, 0],
            Deviation = normalizes ? Three(fields, "image_std") ?? [0.5f, 0.5f, 0.5f] : [1, 1, 1],
        };
    }

    private static ((int, int)? Size, int? Shortest) SizeOf(ConfigFields fields)
    {
        // Old files have one number, which these processors take as the shorter side, and others as a square.
        string type = fields.Text("image_processor_type") ?? fields.Text("feature_extractor_type") ?? "";
        bool shorter = type.StartsWith("CLIP", StringComparison.Ordinal);
        JsonElement? given = fields.Given("size");
        if (given is { ValueKind: JsonValueKind.Number } && shorter) return (null, Side(fields, "size"));
        if (given is { ValueKind: JsonValueKind.Object } && fields.Within("size")! is var sides && sides.Has("shortest_edge"))
        {
            if (sides.Names.Any(name => name != "shortest_edge")) throw fields.Bad("size", "expected height and width, or shortest_edge");
            return (null, Side(sides, "shortest_edge"));
        }
        return (Sides(fields, "size") ?? (224, 224), null);
    }

    // One number for a square, or height and width.
    private static (int Height, int Width)? Sides(ConfigFields fields, string name)
    {
        switch (fields.Given(name))
        {
            case null:
                return null;
            case { ValueKind: JsonValueKind.Number }:
                int side = Side(fields, name);
                return (side, side);
            default:
                ConfigFields sides = fields.Within(name)!;
                return (Side(sides, "height"), Side(sides, "width"));
        }
    }

    private static int Side(ConfigFields fields, string name)
    {
        int side = fields.Size(name) ?? throw fields.Missing(name, "expected height and width, or shortest_edge");
        return side <= LargestSide ? side : throw fields.Bad(name, $"expected at most {LargestSide} pixels");
    }

    private static Resampling ResamplingOf(ConfigFields fields) => fields.Given("resample") switch
    {
        null => Resampling.Bilinear,
        { ValueKind: JsonValueKind.Number } value when value.TryGetInt32(out int number) && number is 2 or 3 => (Resampling)number,
        _ => throw fields.Bad("resample", "supported are 2 (bilinear) and 3 (bicubic)"),
    };

    // One number for each channel.
    private static float[]? Three(ConfigFields fields, string name)
    {
        if (fields.Given(name) is not { } value) return null;
        float[] numbers = value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray().Select(Number)] : [];
        bool divides = name.EndsWith("std", StringComparison.Ordinal);
        if (numbers.Length != 3 || numbers.Any(number => !float.IsFinite(number) || (divides && number <= 0)))
            throw fields.Bad(name, $"expected three finite numbers{(divides ? " above 0" : "")}");
        return numbers;

        static float Number(JsonElement item) =>
            item.ValueKind == JsonValueKind.Number && StrictNumber.TryReal(item.GetRawText(), out float number) ? number : float.NaN;
    }
}
