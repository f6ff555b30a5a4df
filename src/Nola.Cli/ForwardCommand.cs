using System.CommandLine;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola forward</c>: logits of a sequence or of images, for checking a checkpoint from outside.</summary>
internal static class ForwardCommand
{
    private const string Extension = ".safetensors";

    public static Command Create()
    {
        CommonOptions common = new();
        Option<string> ids = new("--ids") { Description = "Token ids of a sequence, for example \"1,2,3\"" };
        Option<string> pixels = new("--pixels")
        {
            Description = "Normalized images for a vision model: FILE.safetensors:TENSOR with (3, H, W) or (N, 3, H, W) float32",
        };
        Option<string> image = new("--image") { Description = "A PNG or JPEG file for a vision model, prepared as its settings say" };
        Option<int> size = CommonOptions.ImageSize();
        Option<string> output = new("--out")
        {
            Description = "Safetensors file with one tensor 'logits', float32: (T, V) of a sequence, (classes) or (N, classes) of images",
            Required = true,
        };
        Command command = new("forward", "Write the logits of every position of a sequence, or of images, to a safetensors file.")
        {
            ids, pixels, image, size, output, common.Json,
        };
        common.AddTo(command);
        command.Does((r, _) =>
        {
            int given = new[] { ids, pixels, image }.Count(option => r.GetValue(option) is not null);
            if (given != 1) throw new NolaException($"Of --ids, --pixels and --image {given} are given; give one.");
            string path = r.GetValue(output)!;
            if (r.GetValue(ids) is { } text) return common.WithModel(r, (model, adapter) => Text(model, adapter, text));
            return common.WithVision(r, r.GetValue(size), (model, adapter) => r.GetValue(pixels) is { } tensor
                ? Images(model, adapter, Read(tensor, model, out bool single), single)
                : Images(model, adapter, [model.Preprocessing.Prepare(RgbImage.Read(r.GetValue(image)!))], single: true));

            int Text(LanguageModel model, IAdapter? adapter, string text)
            {
                int[] sequence = CommonOptions.Ids(text, "--ids");
                if (sequence.Length == 0) throw new NolaException("--ids is empty; give at least one token id.");
                foreach (int id in sequence)
                    if (id >= model.Shape.Vocabulary)
                        throw new NolaException($"--ids: {id} is outside the model's vocabulary of {model.Shape.Vocabulary}.");
                return Write("position", model.Logits(sequence, adapter), [sequence.Length, model.Shape.Vocabulary]);
            }

            int Images(VisionModel model, IAdapter? adapter, IReadOnlyList<float[]> images, bool single)
            {
                float[] logits = model.Logits(images, adapter);
                int classes = model.Config.Labels.Count;
                return Write("image", logits, single ? [classes] : [images.Count, classes]);
            }

            int Write(string what, float[] logits, int[] shape)
            {
                int bad = Array.FindIndex(logits, value => !float.IsFinite(value));
                if (bad >= 0)
                    throw new NolaException(
                        $"The logits of {what} {bad / shape[^1]} (from 0) are not all finite numbers, and are not written: a weight of " +
                        "the model or of the adapter is not finite, or far too large.");
                SafetensorsWriter.Write(path, [new SafetensorsTensor("logits", Shape.Create(shape), logits)]);
                if (r.GetValue(common.Json)) Terminal.Json(new { @out = path, shape });
                else Terminal.Say($"Wrote logits ({string.Join(", ", shape)}) to {path}.");
                return 0;
            }
        });
        return command;
    }

    // One image or several of a tensor.
    private static float[][] Read(string place, VisionModel model, out bool single)
    {
        int end = place.LastIndexOf(Extension + ":", StringComparison.Ordinal);
        (string path, string? name) = end < 0 ? (place, null) : (place[..(end + Extension.Length)], place[(end + Extension.Length + 1)..]);
        using Safetensors file = Safetensors.Open(path);
        if (name is null && file.Entries.Count() != 1)
            throw new NolaException($"--pixels: {path} has {file.Entries.Count()} tensors; name one, {path}:NAME.");
        SafetensorsEntry entry = name is null ? file.Entries.First() : file.Get(name);
        long size = model.Config.ImageSize;
        long[] shape = [.. entry.Shape];
        single = shape.Length == 3;
        if (shape is not ([3, _, _] or [> 0, 3, _, _]) || shape[^1] != size || shape[^2] != size)
            throw new NolaException(
                $"{path}: tensor {Quoted.Of(entry.Name)} has shape [{string.Join(", ", shape)}], and the model reads (3, {size}, {size}) "
                + $"or (N, 3, {size}, {size}); --image-size reads another size.");
        float[] values = file.ReadFinite(entry);
        int length = (int)(3 * size * size);
        return [.. values.Chunk(length)];
    }
}
