using System.CommandLine;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola preprocess</c>: an image as a model sees it, for checking from outside.</summary>
internal static class PreprocessCommand
{
    private const int ViTSide = 224;

    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string> file = new("image") { Description = "A PNG or JPEG file" };
        Option<string> model = new("--model")
        {
            Description = "A preprocessor_config.json, a directory with one, or a vision model [ViT's own: 224 × 224, −1 to 1]",
        };
        Option<string> output = new("--out")
        {
            Description = "Safetensors file with 'u8' (H, W, 3) bytes and 'pixels' (3, H, W) float32",
            Required = true,
        };
        Command command = new("preprocess", "Write an image as a vision model sees it: resized and cut, as bytes and as numbers.")
        {
            file, model, output, common.Json,
        };
        command.Does((r, _) =>
        {
            ImagePreprocessor preprocessor = Of(r.GetValue(model));
            RgbImage seen = preprocessor.Fit(RgbImage.Read(r.GetValue(file)!));
            string path = r.GetValue(output)!;
            SafetensorsWriter.Write(
                path,
                [
                    SafetensorsTensor.OfBytes("u8", [seen.Height, seen.Width, 3], seen.Pixels),
                    new SafetensorsTensor("pixels", [3, seen.Height, seen.Width], preprocessor.Normalize(seen)),
                ]);
            if (r.GetValue(common.Json)) Terminal.Json(new { @out = path, height = seen.Height, width = seen.Width });
            else Terminal.Say($"Wrote u8 ({seen.Height}, {seen.Width}, 3) and pixels (3, {seen.Height}, {seen.Width}) to {path}.");
            return 0;
        });
        return command;
    }

    private static ImagePreprocessor Of(string? model)
    {
        if (model is null) return ImagePreprocessor.Square(ViTSide);
        if (File.Exists(model)) return ImagePreprocessor.Read(model);
        string directory = Directory.Exists(model) || model == VisionModel.EmbeddedName ? model : ModelLocator.Current.Find(model);
        return VisionModel.PreprocessingOf(directory);
    }
}
