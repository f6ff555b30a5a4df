using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>A cache as huggingface_hub lays it out: blobs under their digests, snapshots of links to them, refs to commits.</summary>
public sealed class HuggingFaceCacheTests : IDisposable
{
    private const string Commit = "607a30d783dfa663caf39e06633721c8d4cfcd7e";

    private readonly CpuDevice device = new(1);
    private readonly string root = Directory.CreateTempSubdirectory("nola-test").FullName;

    private string Hub => Path.Combine(root, "hub");

    public void Dispose()
    {
        device.Dispose();
        Directory.Delete(root, recursive: true);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_model_loads_by_its_name_with_links_and_without(bool links)
    {
        string snapshot = Add("openai-community/gpt2", links, Golden());
        ModelLocator locator = Locator(Hub);
        Assert.Equal(snapshot, locator.Find("gpt2"));
        Assert.Equal(snapshot, locator.Find("openai-community/gpt2"));
        AssertGolden(locator.Find("gpt2"));
        FoundModel found = Assert.Single(ModelCatalog.List(locator));
        Assert.Equal(("openai-community/gpt2", Commit, null), (found.Name, found.Revision, found.Problem));
        Assert.Equal(new FileInfo(Path.Combine(TinyModels.Golden, "model.safetensors")).Length, found.Bytes);
    }

    [Fact]
    public void Shards_load_and_their_bytes_are_counted()
    {
        Dictionary<string, byte[]> files = Sharded();
        string snapshot = Add("someone/sharded", true, files);
        AssertGolden(snapshot);
        FoundModel found = Assert.Single(ModelCatalog.List(Locator(Hub)));
        Assert.Equal(files["model-1.safetensors"].Length + files["model-2.safetensors"].Length, found.Bytes);
    }

    [Fact]
    public void A_cache_behind_a_link_and_a_relative_one_are_caches()
    {
        Add("openai-community/gpt2", true, Golden());
        string link = Path.Combine(root, "link");
        Directory.CreateSymbolicLink(link, Hub);
        AssertGolden(Locator(link).Find("gpt2"));
        string relative = Path.GetRelativePath(Directory.GetCurrentDirectory(), Hub);
        AssertGolden(Locator(relative).Find("gpt2"));
        Assert.Null(Assert.Single(ModelCatalog.List(Locator(link))).Problem);
    }

    [Fact]
    public void A_link_of_an_absolute_path_into_the_real_cache_is_followed()
    {
        string snapshot = Add("openai-community/gpt2", true, Golden()), weights = Path.Combine(snapshot, "model.safetensors");
        string blob = File.ResolveLinkTarget(weights, true)!.FullName;
        File.Delete(weights);
        File.CreateSymbolicLink(weights, blob);
        string link = Path.Combine(root, "link");
        Directory.CreateSymbolicLink(link, Hub);
        AssertGolden(Locator(link).Find("gpt2"));
    }

    [Fact]
    public void Without_refs_main_the_only_snapshot_is_taken_and_of_two_none()
    {
        string snapshot = Add("openai-community/gpt2", true, Golden()), repository = Path.Combine(Hub, "models--openai-community--gpt2");
        File.Move(Path.Combine(repository, "refs", "main"), Path.Combine(repository, "refs", "other"));
        Assert.Equal(snapshot, Locator(Hub).Find("gpt2"));
        Directory.CreateDirectory(Path.Combine(repository, "snapshots", new string('0', 40)));
        Assert.Contains("names no snapshot", Assert.Throws<NolaException>(() => Locator(Hub).Find("gpt2")).Message);
    }

    [Theory]
    [InlineData("model.safetensors")]
    [InlineData("config.json")]
    [InlineData("vocab.json")]
    public void A_link_to_a_blob_that_is_gone_is_named(string file)
    {
        string snapshot = Add("openai-community/gpt2", true, Golden()), path = Path.Combine(snapshot, file);
        File.Delete(File.ResolveLinkTarget(path, true)!.FullName);
        string message = Assert.Throws<NolaException>(() => Locator(Hub).Find("gpt2")).Message;
        Assert.Contains(file + " is a link to ../../blobs/", message);
        Assert.Contains("leads nowhere", message);
        Assert.Contains("leads nowhere", Assert.Single(ModelCatalog.List(Locator(Hub))).Problem);
        // As a directory that is given by its path.
        if (file == "model.safetensors")
            Assert.Contains("is not there; download", Assert.Throws<NolaException>(() => LanguageModel.Load(snapshot, device)).Message);
    }

    [Theory]
    [InlineData("tokenizer.model")]
    [InlineData("chat_template.jinja")]
    public void A_file_of_the_tokenizer_that_leads_nowhere_is_named(string file)
    {
        string snapshot = Add("openai-community/gpt2", true, Golden());
        File.CreateSymbolicLink(Path.Combine(snapshot, file), "../../blobs/gone");
        string message = Assert.Throws<NolaException>(() => Locator(Hub).Find("gpt2")).Message;
        Assert.Contains(file + " is a link to ../../blobs/gone, which leads nowhere", message);
    }

    [Fact]
    public void What_is_never_read_may_lead_nowhere()
    {
        string snapshot = Add("openai-community/gpt2", true, Golden());
        File.CreateSymbolicLink(Path.Combine(snapshot, "flax_model.msgpack"), "../../blobs/gone");
        AssertGolden(Locator(Hub).Find("gpt2"));
    }

    [Fact]
    public void One_broken_repository_does_not_hide_the_others()
    {
        Add("a/broken", true, new(Golden()) { ["config.json"] = "{\"model_type\": \"gpt2\", \"scale_attn_weights\": false}"u8.ToArray() });
        Add("b/text", true, new(Golden()) { ["config.json"] = "no JSON"u8.ToArray() });
        Add("c/bert", true, new(Golden()) { ["config.json"] = "{\"model_type\": \"bert\", \"note\": \"not a gpt2\"}"u8.ToArray() });
        Add("d/whole", true, Golden());
        const string Vit = "{\"model_type\": \"vit\", \"hidden_size\": 48, \"num_hidden_layers\": 2, \"num_attention_heads\": 3, "
            + "\"intermediate_size\": 96, \"image_size\": 32, \"patch_size\": 8}";
        Add("e/vit", true, new() { ["config.json"] = Encoding.UTF8.GetBytes(Vit), ["model.safetensors"] = new byte[8] });
        FoundModel[] found = [.. ModelCatalog.List(Locator(Hub))];
        Assert.Equal(["a/broken", "b/text", "d/whole", "e/vit"], found.Select(m => m.Name));
        Assert.Equal([false, false, false, true], found.Select(m => m.ReadsImages));
        Assert.Null(found[3].Problem);
        Assert.Contains("scale_attn_weights is false", found[0].Problem);
        Assert.Contains("not valid JSON", found[1].Problem);
        Assert.Null(found[2].Problem);
    }

    [Fact]
    public void The_tool_lists_inspects_and_runs_a_model_of_the_cache()
    {
        string snapshot = Add("openai-community/gpt2", true, Golden()), output = Path.Combine(root, "logits.safetensors");
        long bytes = new FileInfo(Path.Combine(TinyModels.Golden, "model.safetensors")).Length;
        JsonElement model = Assert.Single(Run("models", "--json").GetProperty("models").EnumerateArray());
        Assert.Equal((snapshot, bytes), (model.GetProperty("directory").GetString(), model.GetProperty("bytes").GetInt64()));
        JsonElement file = Assert.Single(Run("inspect", "gpt2", "--json").GetProperty("files").EnumerateArray());
        Assert.Equal(bytes, file.GetProperty("bytes").GetInt64());
        Run("forward", "--model", "gpt2", "--ids", "1,2,3", "--out", output, "--json");
        using Safetensors logits = Safetensors.Open(output);
        using LanguageModel golden = LanguageModel.Load(TinyModels.Golden, device);
        Assert.Equal(golden.Logits([1, 2, 3]), logits.ReadFinite(logits.Get("logits")));
    }

    private static ModelLocator Locator(string cache) => new(name => name == "HF_HUB_CACHE" ? cache : null, "/nowhere");

    private void AssertGolden(string path)
    {
        using LanguageModel expected = LanguageModel.Load(TinyModels.Golden, device), loaded = LanguageModel.Load(path, device);
        Assert.Equal(expected.Logits([1, 2, 3]), loaded.Logits([1, 2, 3]));
        Assert.Equal(expected.Identity, loaded.Identity);
    }

    private static Dictionary<string, byte[]> Golden() => new()
    {
        ["config.json"] = File.ReadAllBytes(Path.Combine(TinyModels.Golden, "config.json")),
        ["model.safetensors"] = File.ReadAllBytes(Path.Combine(TinyModels.Golden, "model.safetensors")),
        ["vocab.json"] = "{\"a\": 0, \"b\": 1, \"ab\": 2}"u8.ToArray(),
        ["merges.txt"] = "#version: 0.2\na b\n"u8.ToArray(),
    };

    private Dictionary<string, byte[]> Sharded()
    {
        Dictionary<string, byte[]> files = Golden();
        using LanguageModel model = LanguageModel.Load(TinyModels.Golden, device);
        SafetensorsTensor[] all = [.. model.Weights().Select(w => new SafetensorsTensor("transformer." + w.Name, w.Shape, w.Values()))];
        Dictionary<string, string> map = [];
        for (int shard = 0; shard < 2; shard++)
        {
            string name = $"model-{shard + 1}.safetensors", path = Path.Combine(root, name);
            SafetensorsTensor[] part = shard == 0 ? all[..9] : all[9..];
            SafetensorsWriter.Write(path, part);
            files[name] = File.ReadAllBytes(path);
            foreach (SafetensorsTensor tensor in part) map[tensor.Name] = name;
        }
        files.Remove("model.safetensors");
        files["model.safetensors.index.json"] =
            JsonSerializer.SerializeToUtf8Bytes(new { metadata = new { total_size = 1 }, weight_map = map });
        return files;
    }

    // As file_download.py does it: blobs/<digest>, snapshots/<commit>/<file> → ../../blobs/<digest>, refs/main without a newline.
    private string Add(string name, bool links, Dictionary<string, byte[]> files)
    {
        string repository = Path.Combine(Hub, "models--" + name.Replace("/", "--"));
        string snapshot = Path.Combine(repository, "snapshots", Commit);
        foreach (string folder in (string[])["refs", "blobs", ".no_exist/" + Commit])
            Directory.CreateDirectory(Path.Combine(repository, folder));
        Directory.CreateDirectory(snapshot);
        Directory.CreateDirectory(Path.Combine(Hub, ".locks"));
        File.WriteAllText(Path.Combine(repository, "refs", "main"), Commit);
        foreach ((string file, byte[] content) in files)
        {
            string blob = Convert.ToHexStringLower(SHA256.HashData(content)), path = Path.Combine(snapshot, file);
            if (!links)
            {
                File.WriteAllBytes(path, content);
                continue;
            }
            File.WriteAllBytes(Path.Combine(repository, "blobs", blob), content);
            File.CreateSymbolicLink(path, "../../blobs/" + blob);
        }
        return snapshot;
    }

    private JsonElement Run(params string[] arguments)
    {
        ProcessStartInfo start = new("dotnet", [Path.Combine(AppContext.BaseDirectory, "nola.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        start.Environment["HF_HUB_CACHE"] = Hub;
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, error.Result);
        return JsonDocument.Parse(output).RootElement;
    }
}
