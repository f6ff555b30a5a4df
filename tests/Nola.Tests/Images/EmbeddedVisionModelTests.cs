using Nola.Models;
using Nola.Tensors;
using Nola.Train;
using Xunit;

namespace Nola.Tests;

/// <summary>The embedded vision transformer: what it is, and that a few letters are enough for it.</summary>
public sealed class EmbeddedVisionModelTests : IDisposable
{
    private const string Identity = "2:8971ba37f1223b085ecdaf0f25b52de1";

    private readonly CpuDevice device = new(2);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void It_is_small_and_has_no_classes_of_its_own()
    {
        using Stream weights = typeof(VisionModel).Assembly.GetManifestResourceStream("nola-tiny-vit.model.safetensors")!;
        Assert.InRange(weights.Length, 1, 6_000_000);
        Assert.True(VisionModel.Recognizes(VisionModel.EmbeddedName));
        using VisionModel model = VisionModel.Load(VisionModel.EmbeddedName, device);
        VitConfig c = model.Config;
        Assert.Equal((6, 192, 32, 4, 0), (c.Layers, c.Channels, c.ImageSize, c.PatchSize, c.Labels.Count));
        Assert.Equal((32, 32), VisionModel.PreprocessingOf(VisionModel.EmbeddedName).Output);
        // Adapter files hold it: another value makes them useless.
        Assert.Equal(Identity, model.Identity);
    }

    [Fact]
    public void Without_an_adapter_it_tells_no_classes_and_says_what_to_do()
    {
        using VisionModel model = VisionModel.Load(VisionModel.EmbeddedName, device);
        ImageSet letters = ImageSet.Read("greek", ImagePart.Test);
        Assert.Contains(
            "has no classifier; load it with the names of classes and train one, or load an adapter that has one",
            Assert.Throws<NolaException>(() => ImageEvaluation.Test(model, letters)).Message);
    }

    [Fact]
    public void Saved_it_is_a_checkpoint_of_the_same_model()
    {
        using VisionModel model = VisionModel.Load(VisionModel.EmbeddedName, device);
        model.Save(directory);
        using VisionModel saved = VisionModel.Load(directory, device);
        Assert.Equal(model.Identity, saved.Identity);
    }

    // Some seven passes in place of the default's fifty. Chance is 1 of 24, and the bound five times that.
    [Fact]
    public void Five_letters_of_each_kind_teach_it_the_others()
    {
        ImageSet letters = ImageSet.Read("greek", ImagePart.Train).Shots(5, seed: 42), test = ImageSet.Read("greek", ImagePart.Test);
        using VisionModel model = VisionModel.Load(VisionModel.EmbeddedName, device, letters.Labels);
        using TrainableAdapter adapter = model.NewAdapter(NolaMethod.Instance.DefaultsForImages);
        using RunDirectory run = new(directory);
        TrainOptions options = new() { MaxSteps = 60, BatchTokens = 0, BatchSize = 16, LearningRate = 0.02f, Schedule = Schedule.Cosine };
        new Trainer(model, adapter, options, run).Run(letters, null, Augmentation.Crop);
        double accuracy = ImageEvaluation.Test(model, test, adapter).Accuracy;
        Assert.InRange(accuracy, 0.2, 1);
    }
}
