using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>The Hugging Face cache, fabricated.</summary>
public sealed class ModelLocatorTests : IDisposable
{
    private readonly string home = Directory.CreateTempSubdirectory("nola-test").FullName;
    private readonly Dictionary<string, string> environment = [];

    public void Dispose() => Directory.Delete(home, recursive: true);

    [Fact]
    public void The_cache_is_where_the_environment_says()
    {
        Assert.Equal(Path.Combine(home, ".cache", "huggingface", "hub"), Locator().Cache);
        environment["XDG_CACHE_HOME"] = Path.Combine(home, "xdg");
        Assert.Equal(Path.Combine(home, "xdg", "huggingface", "hub"), Locator().Cache);
        environment["HF_HOME"] = Path.Combine(home, "hf");
        Assert.Equal(Path.Combine(home, "hf", "hub"), Locator().Cache);
        environment["HF_HUB_CACHE"] = Path.Combine(home, "hub");
        Assert.Equal(Path.Combine(home, "hub"), Locator().Cache);
    }

    [Theory]
    [InlineData("gpt2", "models--gpt2")]
    [InlineData("gpt2-medium", "models--openai-community--gpt2-medium")]
    [InlineData("someone/small", "models--someone--small")]
    public void A_name_is_found_by_its_reference(string name, string folder)
    {
        string snapshot = Cached(folder, "abc123");
        Assert.Equal(snapshot, Locator().Find(name));
        FoundModel model = Assert.Single(ModelCatalog.List(Locator()));
        Assert.Equal(("abc123", null), (model.Revision, model.Problem));
        Assert.True(model.Bytes > 0);
    }

    [Fact]
    public void Blobs_behind_links_are_followed_but_not_out_of_the_cache()
    {
        string snapshot = Cached("models--gpt2", "abc"), blobs = Path.Combine(snapshot, "..", "..", "blobs");
        Directory.CreateDirectory(blobs);
        string weights = Path.Combine(snapshot, "model.safetensors");
        File.Move(weights, Path.Combine(blobs, "sha"));
        File.CreateSymbolicLink(weights, "../../blobs/sha");
        Assert.Equal(snapshot, Locator().Find("gpt2"));
        Assert.True(ModelCatalog.List(Locator())[0].Bytes > 0);

        File.Delete(weights);
        File.WriteAllText(Path.Combine(home, "outside"), "x");
        File.CreateSymbolicLink(weights, Path.Combine(home, "outside"));
        Assert.Contains("leaves the cache", Assert.Throws<NolaException>(() => Locator().Find("gpt2")).Message);
        File.Delete(weights);
        File.CreateSymbolicLink(weights, "../../blobs/gone");
        Assert.Contains("leads nowhere", Assert.Throws<NolaException>(() => Locator().Find("gpt2")).Message);
    }

    [Fact]
    public void What_cannot_be_used_says_why()
    {
        string snapshot = Cached("models--gpt2", "abc");
        File.Delete(Path.Combine(snapshot, "model.safetensors"));
        File.WriteAllText(Path.Combine(snapshot, "pytorch_model.bin"), "");
        Assert.Contains("no model.safetensors", ModelCatalog.List(Locator())[0].Problem);
        File.WriteAllText(Path.Combine(snapshot, "..", "..", "refs", "main"), "other");
        Assert.Contains("names no snapshot", Assert.Throws<NolaException>(() => Locator().Find("gpt2")).Message);
        File.WriteAllText(Path.Combine(snapshot, "..", "..", "refs", "main"), "../../../x");
        Assert.Contains("names no snapshot", Assert.Throws<NolaException>(() => Locator().Find("gpt2")).Message);
        Assert.Contains("neither a directory nor in", Assert.Throws<NolaException>(() => Locator().Find("../x")).Message);
    }

    private ModelLocator Locator() => new(environment.GetValueOrDefault, home);

    private string Cached(string folder, string revision)
    {
        string repository = Path.Combine(Locator().Cache, folder), snapshot = Path.Combine(repository, "snapshots", revision);
        Directory.CreateDirectory(Path.Combine(repository, "refs"));
        Directory.CreateDirectory(snapshot);
        File.WriteAllText(Path.Combine(repository, "refs", "main"), revision + "\n");
        File.Copy(Path.Combine(TinyModels.Golden, "config.json"), Path.Combine(snapshot, "config.json"));
        File.Copy(Path.Combine(TinyModels.Golden, "model.safetensors"), Path.Combine(snapshot, "model.safetensors"));
        return snapshot;
    }
}
