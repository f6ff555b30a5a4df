using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>A model that was found on this machine.</summary>
/// <param name="Name">The name that it is loaded by.</param>
/// <param name="Directory">Where its files are.</param>
/// <param name="Revision">The commit in the Hugging Face cache; empty elsewhere.</param>
/// <param name="Bytes">Size of its weights.</param>
/// <param name="Problem">Why it cannot be used, or null.</param>
public sealed record FoundModel(string Name, string Directory, string Revision, long Bytes, string? Problem)
{
    /// <summary>Whether it reads images; other models read text.</summary>
    public bool ReadsImages { get; init; }
}

/// <summary>What models there are in the Hugging Face cache.</summary>
public static class ModelCatalog
{
    /// <summary>Every model of a known family in the cache, usable or not.</summary>
    /// <param name="locator">Where to look; <see cref="ModelLocator.Current"/> when it is left out.</param>
    /// <exception cref="NolaException">The cache cannot be listed.</exception>
    public static IReadOnlyList<FoundModel> List(ModelLocator? locator = null)
    {
        ModelLocator place = locator ?? ModelLocator.Current;
        return [.. place.Repositories().Select(repository => Look(place, repository.Name, repository.Directory)).OfType<FoundModel>()];
    }

    // What a repository of the cache holds; null when it is a model of no family that can be loaded.
    private static FoundModel? Look(ModelLocator locator, string name, string repository)
    {
        string revision = "";
        try
        {
            string? snapshot = locator.Snapshot(repository, out revision, out string? problem);
            if (snapshot is null) return new FoundModel(name, repository, revision, 0, problem);
            string path = Path.Combine(snapshot, "config.json");
            byte[] config = InputFile.ReadAll(path, JsonInput.LargestConfig);
            if (Reads(config, path) is not { } images) return null;
            if (images) VitConfigReader.Parse(config, path);
            else ModelFamilies.Parse(config, path);
            long bytes = WeightFiles.Names(snapshot).Sum(InputFile.Length);
            string? weights = bytes > 0 ? null : "there is no model.safetensors (a pytorch_model.bin cannot be read safely)";
            return new FoundModel(name, snapshot, revision, bytes, weights) { ReadsImages = images };
        }
        catch (NolaException error)
        {
            return new FoundModel(name, repository, revision, 0, error.Message);
        }
    }

    // Whether it reads images; null for a model of no known family.
    private static bool? Reads(byte[] config, string path)
    {
        using JsonDocument document = JsonInput.Parse(config, path);
        JsonElement root = document.RootElement;
        if (VitConfigReader.Recognizes(root)) return true;
        return root.ValueKind == JsonValueKind.Object && ModelFamilies.Find(root) is not null ? false : null;
    }
}
