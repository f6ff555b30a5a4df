using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>Learning from images: every method, files, merging, resuming to the bit, and augmentation for any number of threads.</summary>
public sealed class VisionTrainingTests : IDisposable
{
    private const int Side = 16;

    private static readonly string[] labels = ["bright", "dark", "left"];

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly string place;
    private readonly ImageSet training = Set(8, 1), test = Set(6, 2);

    public VisionTrainingTests()
    {
        place = Path.Combine(directory, "model");
        using VisionModel model = VisionModel.Create(new VitConfig(2, 2, 24, 48, Side, 4) { Labels = ["one", "two"] }, device, seed: 3);
        model.Save(place);
    }

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    public static TheoryData<string> Methods => [.. AdapterMethods.Known.Select(method => method.Name), "full"];

    // What the published settings ask for is larger than the maps of a model of 24 channels.
    private static AdapterOptions Small(AdapterOptions settings) => settings switch
    {
        FourierFtOptions fourier => fourier with { Frequencies = 200 },
        VbLoraOptions bank => bank with { Vectors = 16, VectorLength = 8, BankRate = 1 },
        LoraXsOptions small => small with { Rank = 8 },
        _ => settings,
    };

    [Theory]
    [MemberData(nameof(Methods))]
    public void Every_method_learns_classes_and_its_file_gives_what_was_trained(string name)
    {
        using VisionModel model = VisionModel.Load(place, device, labels, trainable: name == "full");
        Assert.True(model.HasNewClassifier);
        AdapterOptions? settings = AdapterMethods.Find(name) is { } method ? Small(method.DefaultsForImages) : null;
        using TrainableAdapter? adapter = settings is null ? null : model.NewAdapter(settings with { Targets = ["*"] });
        string path = Path.Combine(directory, "run");
        // Biases of a model that has learned nothing take their time.
        TrainOptions options = Options(name is "bitfit" or "beft" ? 250 : 60) with { LearningRate = name == "full" ? 0.003f : 0.02f };
        using (RunDirectory run = new(path))
        {
            TrainResult result = new Trainer(model, adapter, options, run).Run(training, test);
            // ln 3 before, since a new classifier says nothing.
            Assert.Equal(Math.Log(3), result.FirstLoss, 1e-5);
            Assert.True(result.BestLoss < 0.7, $"{name}: {result.FirstLoss} → {result.BestLoss}");
        }
        if (adapter is null)
        {
            using VisionModel saved = VisionModel.Load(Path.Combine(path, "model"), device);
            Assert.Equal(labels, saved.Config.Labels);
            Assert.True(ImageEvaluation.Test(saved, test).Accuracy > 0.7);
            return;
        }
        string file = Path.Combine(path, "adapter.safetensors");
        Assert.Equal(labels, AdapterFile.Labels(file));
        Assert.True(adapter.HeadParameters.Count == 2);
        using VisionModel again = VisionModel.Load(place, device, AdapterFile.Labels(file));
        using LoadedAdapter loaded = AdapterFile.Load(file, again);
        ImageResult accuracy = ImageEvaluation.Test(again, test, loaded);
        Assert.True(accuracy.Accuracy > 0.7, $"{name}: {accuracy.Accuracy}");
        // Merged, the model alone says the same, and is no longer the base.
        float[][] images = [.. test.Images.Take(3).Select(image => again.Preprocessing.Normalize(image.Read()))];
        float[] logits = again.Logits(images, loaded);
        string identity = again.Identity;
        loaded.Merge();
        OpCheck.Close(OpCheck.Wide(logits), again.Logits(images), 2e-5);
        Assert.NotEqual(identity, again.Identity);
        string merged = Path.Combine(directory, "merged");
        again.Save(merged);
        using VisionModel plain = VisionModel.Load(merged, device);
        Assert.Equal(labels, plain.Config.Labels);
        OpCheck.Close(OpCheck.Wide(logits), plain.Logits(images), 2e-5);
        // The base is another model with the checkpoint's own classifier.
        using VisionModel own = VisionModel.Load(place, device);
        Assert.Contains("is another one", Assert.Throws<NolaException>(() => AdapterFile.Load(file, own)).Message);
    }

    [Fact]
    public void A_resumed_run_equals_an_uninterrupted_one_bit_for_bit()
    {
        TrainOptions options = Options(14) with { CheckpointEvery = 5 };
        byte[] whole = Run("whole", stop: 0), cut = Run("cut", stop: 6);
        Assert.Equal(whole, cut);

        byte[] Run(string name, int stop)
        {
            string path = Path.Combine(directory, name);
            using CancellationTokenSource source = new();
            foreach (bool resume in stop > 0 ? (bool[])[false, true] : [false])
            {
                using VisionModel model = VisionModel.Load(place, device, labels);
                using TrainableAdapter adapter =
                    model.NewAdapter(new NolaOptions { Rank = 2, Bases = 16, Targets = ["fc1", "fc2"], TrainHead = true });
                using RunDirectory run = new(path, resume);
                Trainer trainer = new(model, adapter, options, run, new Stop(resume ? 0 : stop, source));
                try
                {
                    trainer.Run(training, test, Augmentation.Published, resume, resume ? default : source.Token);
                }
                catch (OperationCanceledException)
                {
                    Assert.False(resume);
                }
            }
            return File.ReadAllBytes(Path.Combine(path, "adapter.safetensors"));
        }
    }

    [Fact]
    public void An_experiment_with_images_runs_every_method_with_every_seed_and_sample()
    {
        string images = Path.Combine(directory, "set"), root = Path.Combine(directory, "runs"), path = Path.Combine(directory, "few.json");
        foreach ((ImageSet set, string part) in ((ImageSet, string)[])[(training, "train"), (test, "test")])
        {
            for (int i = 0; i < set.Images.Count; i++)
            {
                string folder = Path.Combine(images, part, labels[set.Images[i].Label]);
                Directory.CreateDirectory(folder);
                File.WriteAllBytes(Path.Combine(folder, $"{i}.png"), PictureFiles.Png(set.Images[i].Read()));
            }
        }
        File.WriteAllText(path, JsonSerializer.Serialize(new
        {
            settings = new { model = place, images, shots = 2, epochs = 2, augment = "none" },
            seeds = (int[])[1, 2],
            samples = (int[])[1, 2],
            methods = (object[])
            [
                new { name = "head", method = "head" }, new { name = "lora", method = "lora" },
                new { name = "lora-8bit", of = "lora", bits = 8 },
            ],
        }));
        ExperimentFile file = ExperimentFile.Read(path);
        using ExperimentRunner runner = new(file, root, "cpu", 2, [new LossScore(), new AccuracyScore()], new Quiet());
        Assert.Equal(12, runner.Runs.Count);
        ExperimentSummary summary = runner.Run();
        Assert.Equal((12, 0, false), (summary.Done, summary.Failed, summary.Interrupted));
        Assert.All(runner.Summarize(), method => Assert.Equal(4, method.Scores["accuracy"].Count));
        Assert.Contains("accuracy", File.ReadAllText(Path.Combine(root, "table.md")));
        Assert.Equal(12, runner.Run().Skipped);
        // A sample decides which images are learned from.
        Assert.Equal(2, runner.Runs.Where(run => run.Method.Name == "head").Select(run => run.Config.ShotsSeed).Distinct().Count());
    }

    [Fact]
    public void A_run_with_other_images_is_not_resumed()
    {
        string path = Path.Combine(directory, "run");
        Train(path, training, resume: false);
        string message = Assert.Throws<NolaException>(() => Train(path, Set(8, 9), resume: true)).Message;
        Assert.Contains("data was", message);

        void Train(string run, ImageSet set, bool resume)
        {
            using VisionModel model = VisionModel.Load(place, device, labels);
            using TrainableAdapter adapter = model.NewAdapter(new HeadOptions());
            using RunDirectory kept = new(run, resume);
            new Trainer(model, adapter, Options(2), kept).Run(set, resume: resume);
        }
    }

    [Fact]
    public void A_classifier_learns_at_a_rate_of_its_own()
    {
        Assert.NotEqual(Trained(0), Trained(0.001f));
        Assert.Equal(Trained(0), Trained(0.02f));

        float[] Trained(float rate)
        {
            using VisionModel model = VisionModel.Load(place, device, labels);
            using TrainableAdapter adapter = model.NewAdapter(new LoraOptions { TrainHead = true });
            new Trainer(model, adapter, Options(3) with { HeadLearningRate = rate }).Run(training);
            return adapter.HeadParameters[0].Value.ToArray();
        }
    }

    [Theory]
    [InlineData(Augmentation.Published)]
    [InlineData(Augmentation.Crop)]
    public void Changes_of_an_image_depend_on_seed_epoch_and_image_alone(Augmentation kind)
    {
        using VisionModel model = VisionModel.Load(place, device, labels);
        PreparedImages images = new(model, training.Images, kind, 5), again = new(model, training.Images, kind, 5);
        float[] first = images.Stream([0, 1, 2, 3], 0).Patches!.Values;
        int length = first.Length / 4;
        Assert.Equal(first, again.Stream([0, 1, 2, 3], 0).Patches!.Values);
        Assert.Equal(first[(2 * length)..(3 * length)], again.Stream([2], 0).Patches!.Values);
        Assert.NotEqual(first, images.Stream([0, 1, 2, 3], 1).Patches!.Values);
        Assert.NotEqual(first, new PreparedImages(model, training.Images, kind, 6).Stream([0, 1, 2, 3], 0).Patches!.Values);
        Assert.All(first, value => Assert.InRange(value, -1, 1));
    }

    [Fact]
    public void Colors_change_as_torchvision_changes_them()
    {
        RgbImage image = new(2, 1, [100, 50, 200, 10, 20, 30]);
        ImageColors.Brighten(image, 1.5);
        Assert.Equal([150, 75, 255, 15, 30, 45], image.Pixels);
        image = new(2, 1, [100, 50, 200, 10, 20, 30]);
        ImageColors.Saturate(image, 0);
        Assert.Equal([82, 82, 82, 18, 18, 18], image.Pixels);
        // A third of the circle makes red green, and green blue.
        image = new(2, 1, [200, 10, 10, 10, 200, 10]);
        ImageColors.Turn(image, 1.0 / 3);
        Assert.Equal([10, 200, 10, 10, 10, 200], image.Pixels);
        image = new(2, 1, [0, 0, 0, 100, 100, 100]);
        ImageColors.Contrast(image, 0.5);
        Assert.Equal([25, 25, 25, 75, 75, 75], image.Pixels);
        image = new(3, 1, [0, 0, 0, 90, 90, 90, 0, 0, 0]);
        ImageColors.Blur(image, 0.1);
        Assert.Equal([0, 90, 0], [image.Pixels[0], image.Pixels[3], image.Pixels[6]]);
        ImageColors.Blur(image, 2);
        // With repeated edges most of what a pixel sees is dark.
        Assert.All(image.Pixels, value => Assert.InRange(value, 14, 20));
    }

    [Fact]
    public void A_confusion_matrix_says_what_is_taken_for_what()
    {
        int[,] confusion = { { 3, 1, 0 }, { 0, 2, 0 }, { 0, 0, 0 } };
        ImageResult result = new(["a", "<b>", "c"], confusion, 0.5);
        Assert.Equal((6, 5, 5.0 / 6, 0.875), (result.Count, result.Right, result.Accuracy, result.MeanPerClass));
        Assert.True(double.IsNaN(result.AccuracyOf(2)));
        string svg = ConfusionPicture.Draw(result);
        Assert.Contains("5 of 6 right, 83.3 %", svg);
        Assert.Contains("&lt;b&gt;", svg);
        System.Xml.Linq.XDocument.Parse(svg);
    }

    [Fact]
    public void Sizes_and_classes_that_do_not_fit_are_refused()
    {
        using VisionModel model = VisionModel.Load(place, device);
        Assert.Contains("is none of the 2 classes", Plain(() => ImageEvaluation.Test(model, test)));
        Assert.Contains("an image must be a whole number of patches wide", Plain(() => VisionModel.Load(place, device, imageSize: 18)));
        Assert.Contains("An image has 5 numbers", Plain(() => model.Logits([new float[5]])));
        Assert.Contains("reads images", Plain(() => LanguageModel.Load(place, device)));
        Assert.Contains("is not a vision model", Plain(() =>
        {
            using LanguageModel text = TinyModels.Create(device, layers: 1);
            using TrainableAdapter adapter = text.NewAdapter(new LoraOptions());
            new Trainer(text, adapter).Run(training);
        }));

        static string Plain(Action action) => Assert.Throws<NolaException>(action).Message.Replace("'", "").Replace("\"", "");
    }

    [Fact]
    public void Positions_are_interpolated_to_images_of_another_size()
    {
        using VisionModel model = VisionModel.Load(place, device), larger = VisionModel.Load(place, device, imageSize: 32);
        Assert.Equal(32, larger.Config.ImageSize);
        Assert.Equal((32, 32), larger.Preprocessing.Output);
        Assert.NotEqual(model.Identity, larger.Identity);
        // Positions of 2 × 2 patches that say how far right and how far down they are, as PyTorch's interpolate makes 4 × 4 of them.
        const string Name = "embeddings.position_embeddings";
        string path = Path.Combine(directory, "flat");
        using (VisionModel made = VisionModel.Create(new(1, 1, 2, 4, 8, 4) { Labels = ["a", "b"] }, device, seed: 4))
        {
            device.Upload((float[])[7, 8, 0, 0, 1, 0, 0, 1, 1, 1], made.Parameters.First(p => p.Name == Name).Value);
            made.Save(path);
        }
        using VisionModel wide = VisionModel.Load(path, device, imageSize: 16);
        float[] table = wide.Parameters.First(p => p.Name == Name).Value.ToArray();
        float[] line = [-0.10546875f, 0.2265625f, 0.7734375f, 1.10546875f];
        Assert.Equal([7, 8], table[..2]);
        Assert.All(Enumerable.Range(0, 16), i => Assert.Equal((line[i % 4], line[i / 4]), (table[2 + 2 * i], table[3 + 2 * i])));
    }

    private static TrainOptions Options(int steps) => new()
    {
        MaxSteps = steps,
        BatchSize = 8,
        BatchTokens = 0,
        LearningRate = 0.02f,
        WarmupSteps = 0,
        Schedule = Schedule.Constant,
        EvalEvery = 20,
    };

    // Bright or dark all over, or bright on the left; each with noise.
    private static ImageSet Set(int each, int seed)
    {
        Random random = new(seed);
        return new("set", labels, [.. Enumerable.Range(0, 3 * each).Select(i =>
        {
            byte[] pixels = new byte[3 * Side * Side];
            for (int p = 0; p < pixels.Length; p++)
            {
                bool bright = i % 3 == 0 || (i % 3 == 2 && p / 3 % Side < Side / 2);
                pixels[p] = (byte)((bright ? 170 : 40) + random.Next(40));
            }
            return new LabeledImage($"set, image {i}", i % 3, Side, Side, pixels);
        })]);
    }

    private sealed class Quiet : IExperimentObserver;

    private sealed class Stop(int step, CancellationTokenSource source) : ITrainObserver
    {
        public void OnStep(StepReport report)
        {
            if (report.Step == step) source.Cancel();
        }
    }
}
