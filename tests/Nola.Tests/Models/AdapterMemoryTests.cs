using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Adapters on a device whose memory runs out.</summary>
public sealed class AdapterMemoryTests : IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void Wherever_memory_runs_out_while_an_adapter_is_made_or_read_all_of_it_is_given_back()
    {
        using LanguageModel model = TinyModels.Create(device);
        AdapterOptions[] all =
        [
            new NolaOptions { BasesA = 5, BasesB = 4, Rank = 2 },
            new NolaOptions { BasesA = 5, BasesB = 4, Rank = 2, Variant = NolaVariant.Offset },
            new LoraOptions { Rank = 2, Bias = LoraBias.All },
            new LoraOptions { Rank = 2, Decomposed = true },
            new VeraOptions { Rank = 3 },
            new LoraXsOptions { Rank = 3 },
            new UniLoraOptions { Length = 40 },
            new VbLoraOptions { Rank = 2, Vectors = 10, VectorLength = 8 },
            new RandLoraOptions { Rank = 5 },
            new LoKrOptions { Rank = 2, Factor = 2 },
            new LoKrOptions { Rank = 20, Factor = 2 },
            new FourierFtOptions { Frequencies = 9 },
            new Ia3Options(),
            new BeftOptions(),
            new BitFitOptions(),
        ];
        // The head alone, and beside others, is starved below.
        IEnumerable<AdapterMethod> ours = AdapterMethods.Known.Where(method => method.GetType().Assembly == typeof(AdapterMethod).Assembly);
        Assert.Equal(
            ours.Select(method => method.Name).Order(),
            all.Select(options => options.Method.Name).Append("head").Distinct().Order());
        foreach (AdapterOptions options in all) Starve(model, options);
    }

    [Fact]
    public void So_it_is_with_a_head_beside_it()
    {
        using (LanguageModel text = TinyModels.Create(device))
        {
            Starve(text, new HeadOptions { TrainHead = true });
            Starve(text, new LoraOptions { Rank = 2, TrainHead = true });
        }

        VitConfig config = new(2, 2, 24, 48, 8, 4) { Labels = ["one", "two", "three"] };
        using VisionModel model = VisionModel.Create(config, device, seed: 3);
        Starve(model, new HeadOptions { TrainHead = true });
        Starve(model, new LoraOptions { Rank = 2, TrainHead = true });
        Starve(model, new NolaOptions { BasesA = 5, BasesB = 4, Rank = 2, TrainHead = true });
    }

    private void Starve(IModel model, AdapterOptions options)
    {
        string file = Path.Combine(directory, "adapter.safetensors");
        using (TrainableAdapter adapter = model.NewAdapter(options)) AdapterFile.Save(adapter, file);
        Starve(options, () => model.NewAdapter(options));
        Starve(options, () => AdapterFile.LoadTrainable(file, model));
        Starve(options, () => AdapterFile.Load(file, model));
    }

    // The first allocation fails, then the second alone, and so on until none does.
    private void Starve(AdapterOptions options, Func<Adapter> make)
    {
        const string Starved = "no memory for the sake of the test";
        (long bytes, int count) = (device.Pool.LiveBytes, device.Pool.LiveCount);
        for (int granted = 0; ; granted++)
        {
            int left = granted;
            device.Pool.Renting = _ =>
            {
                if (left-- == 0) throw new NolaException(Starved);
            };
            try
            {
                make().Dispose();
                Assert.True(granted > 0 && left >= 0, $"{options}: {granted} allocations");
                break;
            }
            catch (NolaException error) when (error.Message.Contains(Starved))
            {
                Assert.True(
                    (bytes, count) == (device.Pool.LiveBytes, device.Pool.LiveCount),
                    $"{options}: of {granted} allocations {device.Pool.LiveCount - count} tensors are left\n{error.StackTrace}");
            }
            finally
            {
                device.Pool.Renting = null;
            }
        }
        Assert.Equal((bytes, count), (device.Pool.LiveBytes, device.Pool.LiveCount));
    }
}
