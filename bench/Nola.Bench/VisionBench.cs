using BitMiracle.LibJpeg;
using Nola.Models;
using Nola.Train;

namespace Nola.Bench;

/// <summary>ViT-B/16 on images of 224 × 224 pixels: what a batch says, a training step, and the pictures that it waits for.</summary>
internal static class VisionBench
{
    private const int Images = 32, Classes = 10, Rank = 4, Bases = 1000, Colors = 3;

    // What photographs of public sets have.
    private const int Width = 500, Height = 375, Quality = 90;

    private static readonly VitConfig config =
        VitConfig.ByName("vit-base")! with { Labels = [.. Enumerable.Range(0, Classes).Select(i => $"{i}")] };

    public static void Run(Bench bench)
    {
        using VisionModel model = VisionModel.Create(config, bench.Device, 1, trainable: false);
        int side = config.ImageSize;
        float[][] images = [.. Enumerable.Range(0, Images).Select(i => Bench.Values(Colors * side * side, i + 1))];
        TokenStream stream = model.Stream(images, [.. Enumerable.Range(0, Images).Select(i => i % Classes)]);
        Forward(bench, model, images);
        double step = Steps(bench, model, stream);
        Pictures(bench, model, step);
    }

    private static void Forward(Bench bench, VisionModel model, float[][] images)
    {
        float[] logits = model.Logits(images);
        Bench.Require(logits.Length == Images * Classes && logits.All(float.IsFinite), "every image has its logits");
        (Timing[] times, Peak peak) = bench.TimeWithPeak([() => model.Logits(images)], 1);
        double share = 100 * peak.Share(times[0], ForwardFlop);
        bench.Section($"ViT-B/16, {Images} images of 224 × 224 pixels", "", "time", "images/s", "share of peak");
        bench.Row("forward", StepBench.Spread(times[0]), $"{Images / times[0].Median:F1}", $"{share:F0} %");
        bench.AtLeast("ViT-B/16, forward", share, 80, "% of peak", $"{Images} images, {Images / times[0].Median:F1} images/s");
    }

    // Seconds of a step of NOLA.
    private static double Steps(Bench bench, VisionModel model, TokenStream stream)
    {
        AdapterOptions lora = new LoraOptions { Rank = Rank, Alpha = Rank, Targets = ["fc1", "fc2"], TrainHead = true };
        AdapterOptions nola = new NolaOptions { Rank = Rank, Alpha = Rank, Bases = Bases, Targets = ["fc1", "fc2"], TrainHead = true };
        using TrainStep one = new(model, model.NewAdapter(lora)), two = new(model, model.NewAdapter(nola));
        Bench.Require(Math.Abs(one.Run(stream) - two.Run(stream)) < 1e-4, "both methods start at the same loss");
        (Timing[] times, Peak peak) = bench.TimeWithPeak([() => one.Run(stream), () => two.Run(stream)], 1);
        double share = 100 * peak.Share(times[1], StepFlop);
        double other = 100 * peak.Share(times[0], StepFlop);
        bench.Row("training step, LoRA", StepBench.Spread(times[0]), $"{Images / times[0].Median:F1}", $"{other:F0} %");
        bench.Row("training step, NOLA", StepBench.Spread(times[1]), $"{Images / times[1].Median:F1}", $"{share:F0} %");
        bench.Line();
        bench.Line(
            $"Adapters on fc1 and fc2 beside a trained classifier, r = {Rank}, k = {Bases}. Useful work: {ForwardFlop / 1e9:F0} GFLOP "
            + $"forward, {StepFlop / 1e9:F0} a step, which goes back to the first block's fc1; peak {peak.Rate / 1e9:F0} GFLOP/s.");
        bench.AtLeast("ViT-B/16, training step, NOLA on the MLP", share, 76, "% of peak", $"{Images / times[1].Median:F1} images/s");
        bench.AtMost("ViT-B/16, NOLA step ÷ LoRA step", times[1].Over(times[0]), 1.02, "", $"shared basis, k = {Bases}, r = {Rank}");
        return times[1].Median;
    }

    // Photographs from files, decoded, changed and normalized by one thread.
    private static void Pictures(Bench bench, VisionModel model, double step)
    {
        string directory = Directory.CreateTempSubdirectory("nola-bench").FullName;
        try
        {
            string[] paths = [.. Enumerable.Range(0, Images).Select(i => Path.Combine(directory, $"{i}.jpg"))];
            for (int i = 0; i < Images; i++) WritePhotograph(paths[i], i);
            Timing time = bench.Time(() =>
            {
                for (int i = 0; i < Images; i++)
                {
                    RgbImage seen = ImageAugmentation.Apply(
                        RgbImage.Read(paths[i]), Augmentation.Published, model.Preprocessing, new ImageDice(1, 0, i));
                    model.Preprocessing.Normalize(seen);
                }
            });
            bench.Line();
            bench.Line(
                $"One thread reads, changes and normalizes {Images / time.Median:F0} JPEG files of {Width} × {Height} pixels a second; "
                + $"a step takes {Images / step:F1}.");
            bench.AtLeast("pictures prepared by one thread ÷ pictures that a step takes", step / time.Median, 1, "times");
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    // Waves with noise, which compress about as photographs do.
    private static void WritePhotograph(string path, int seed)
    {
        Random random = new(seed);
        SampleRow[] rows = [.. Enumerable.Range(0, Height).Select(y =>
        {
            byte[] row = new byte[3 * Width];
            for (int i = 0; i < row.Length; i++)
                row[i] = (byte)(128 + 80 * Math.Sin((i / 3 + seed) * 0.03 + i % 3) * Math.Cos(y * 0.05) + random.Next(24));
            return new SampleRow(row, Width, 8, 3);
        })];
        using JpegImage image = new(rows, Colorspace.RGB);
        using FileStream file = File.Create(path);
        image.WriteJpeg(file, new CompressionParameters { Quality = Quality });
    }

    private static double Tokens => (double)Images * (config.Patches + 1);

    private static double Block => 4.0 * config.Channels * config.Channels + 2.0 * config.Channels * config.Inner;

    // Two products of each head, which see all of the image.
    private static double Attention => 4 * Tokens * (config.Patches + 1) * config.Channels;

    private static double ForwardFlop => config.Layers * (2 * Tokens * Block + Attention)
        + 2.0 * Images * config.Patches * Colors * config.PatchSize * config.PatchSize * config.Channels;

    // Back through every block but the first, and of that through fc2 alone; of attention five products; six skinny ones of each adapter.
    private static double StepFlop
    {
        get
        {
            double fc2 = (double)config.Channels * config.Inner, layers = config.Layers;
            double back = 2 * Tokens * ((layers - 1) * Block + fc2) + (layers - 1) * 2.5 * Attention;
            return ForwardFlop + back + layers * 2 * 6 * Tokens * Rank * (config.Channels + config.Inner);
        }
    }
}
