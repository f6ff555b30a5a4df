using System.Net;
using System.Text.Json;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Serve.Tests;

/// <summary>A directory of adapters that changes while it is served. Each test has a server and a directory of its own.</summary>
public sealed class AdapterDirectoryTests : IDisposable
{
    private readonly Device device = Device.Open("cpu", 1);
    private readonly LanguageModel model;
    private readonly Reference reference = new();
    private readonly string root = Directory.CreateTempSubdirectory("nola-adapters-").FullName;
    private readonly string outside = Directory.CreateTempSubdirectory("nola-outside-").FullName;

    public AdapterDirectoryTests()
    {
        model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
        Write("one", 1);
    }

    [Fact]
    public async Task A_file_that_comes_is_served_at_once_and_one_that_goes_is_not()
    {
        await using NolaServer server = await StartAsync();
        using Api api = new(server.Address);
        Assert.Equal("model_not_found", (await api.FailAsync("/v1/completions", Asking("two"))).Code);
        Write("two", 2);
        Assert.Equal(Expected("two"), await api.ChatAsync("two", "The", 8));
        File.Delete(PathOf("two"));
        Assert.Equal("model_not_found", (await api.FailAsync("/v1/completions", Asking("two"))).Code);
        Write("deep/er/three", 3);
        // Nobody asks for it: the directory is watched.
        await UntilAsync(async () => (await NamesAsync(api)).Contains("deep/er/three"));
        File.Delete(PathOf("deep/er/three"));
        await UntilAsync(async () => !(await NamesAsync(api)).Contains("deep/er/three"));
    }

    [Fact]
    public async Task Another_file_under_an_old_name_never_answers_with_the_old_one()
    {
        await using NolaServer server = await StartAsync();
        using Api api = new(server.Address);
        for (int seed = 1; seed < 6; seed++)
        {
            Write("one", seed);
            string expected = Expected("one");
            // Twice, since the second time its keys and values are there already.
            for (int i = 0; i < 2; i++) Assert.Equal(expected, await api.ChatAsync("one", "The", 8));
        }
    }

    [Fact]
    public async Task A_file_that_is_broken_or_for_another_base_is_an_error_of_its_own()
    {
        File.WriteAllBytes(PathOf("cut"), File.ReadAllBytes(PathOf("one"))[..^100]);
        using (Device other = Device.Open("cpu", 1))
        using (LanguageModel stranger = LanguageModel.Create(new Gpt2Config(1, 2, 8, 300, 20), other, 1, trainable: false))
            TestAdapters.Write(stranger, PathOf("stranger"), 1);
        File.WriteAllText(PathOf("nola-tiny"), "");
        await using NolaServer server = await StartAsync();
        using Api api = new(server.Address);
        JsonElement list = await api.GetAsync("/v1/models");
        Assert.Equal(["nola-tiny", "one"], Ids(list));
        JsonElement[] refused = [.. list.GetProperty("refused").EnumerateArray()];
        Assert.Equal(["cut", "nola-tiny", "stranger"], refused.Select(r => r.GetProperty("id").GetString()));
        Assert.All(refused, r => Assert.DoesNotContain(root, r.ToString()));
        (int status, string message, _, string? code) = await api.FailAsync("/v1/completions", Asking("stranger"));
        Assert.Equal((400, "adapter_refused"), (status, code));
        Assert.Contains("base model", message);
        Assert.Equal("adapter_refused", (await api.FailAsync("/v1/completions", Asking("cut"))).Code);
        Assert.Equal(Expected("one"), await api.ChatAsync("one", "The", 8));
        // The base is the base, whatever file has its name.
        Assert.Equal(reference.Answer("The", null, 8), await api.ChatAsync("nola-tiny", "The", 8));
        File.Copy(PathOf("one"), PathOf("cut"), overwrite: true);
        Assert.Equal(Expected("one"), await api.ChatAsync("cut", "The", 8));
        // And the other way round: what cannot be read any more is not answered by what was there before.
        File.WriteAllText(PathOf("one"), "no");
        Assert.Equal("adapter_refused", (await api.FailAsync("/v1/completions", Asking("one"))).Code);
    }

    [Fact]
    public async Task Adapters_are_loaded_and_unloaded_by_name()
    {
        Write("two", 2);
        await using NolaServer server = await StartAsync();
        using Api api = new(server.Address);
        JsonElement loaded = await api.PostAsync("/v1/load_lora_adapter", new { lora_name = "mine", lora_path = "one.safetensors" });
        string? fingerprint = (await api.GetAsync("/v1/models/one")).GetProperty("fingerprint").GetString();
        Assert.Equal(fingerprint, loaded.GetProperty("fingerprint").GetString());
        Assert.Equal(Expected("one"), await api.ChatAsync("mine", "The", 8));
        await api.PostAsync("/v1/load_lora_adapter", new { lora_name = "mine", lora_path = PathOf("two"), pinned = true });
        Assert.Equal(Expected("two"), await api.ChatAsync("mine", "The", 8));
        JsonElement entry = await api.GetAsync("/v1/models/mine");
        Assert.Equal(("nola-tiny", "two.safetensors", "nola"),
            (entry.GetProperty("parent").GetString(), entry.GetProperty("root").GetString(), entry.GetProperty("method").GetString()));
        await api.PostAsync("/v1/unload_lora_adapter", new { lora_name = "mine" });
        Assert.Equal("model_not_found", (await api.FailAsync("/v1/completions", Asking("mine"))).Code);
        Assert.Equal(404, (await api.FailAsync("/v1/unload_lora_adapter", new { lora_name = "mine" })).Status);
        // One of the directory stays away until its file changes.
        await api.PostAsync("/v1/unload_lora_adapter", new { lora_name = "two" });
        server.Directory!.Scan();
        Assert.Equal("model_not_found", (await api.FailAsync("/v1/completions", Asking("two"))).Code);
        Write("two", 3);
        Assert.Equal(Expected("two"), await api.ChatAsync("two", "The", 8));
    }

    [Fact]
    public async Task Names_and_paths_stay_in_the_directory()
    {
        string away = Path.Combine(outside, "away.safetensors");
        TestAdapters.Write(reference.Model, away, 9);
        File.CreateSymbolicLink(Path.Combine(root, "link.safetensors"), away);
        Directory.CreateSymbolicLink(Path.Combine(root, "linked"), outside);
        await using NolaServer server = await StartAsync();
        using Api api = new(server.Address);
        foreach (string name in (string[])["../x", "/x", "a//b", "", "a\\..\\b", "a/./b", " x", "x\u0000", "nola-tiny"])
            Assert.Equal("lora_name", await BlamedAsync(name, "one.safetensors"));
        string dots = Path.Combine("..", Path.GetFileName(outside), "away.safetensors");
        foreach (string path in (string[])[away, dots, "link.safetensors", "linked/away.safetensors", "none.safetensors", "", "a\u0000b"])
            Assert.Equal("lora_path", await BlamedAsync("x", path));
        // Nor does what is in the directory lead out of it by itself.
        Assert.Equal(["nola-tiny", "one"], Ids(await api.GetAsync("/v1/models")));
        Assert.Equal(400, (await api.FailAsync("/v1/completions", Asking("link"))).Status);
        Assert.InRange((await api.FailAsync("/v1/completions", Asking("linked/away"))).Status, 400, 404);

        async Task<string?> BlamedAsync(string name, string path)
        {
            object request = new { lora_name = name, lora_path = path };
            (int status, _, string? param, string? code) = await api.FailAsync("/v1/load_lora_adapter", request);
            Assert.Equal((400, "adapter_refused"), (status, code));
            return param;
        }
    }

    [Fact]
    public async Task Links_that_lead_out_are_followed_where_that_is_allowed()
    {
        TestAdapters.Write(model, Path.Combine(outside, "away.safetensors"), 9);
        File.CreateSymbolicLink(Path.Combine(root, "link.safetensors"), Path.Combine(outside, "away.safetensors"));
        await using NolaServer server = await StartAsync(allowOutside: true);
        using Api api = new(server.Address);
        string expected = reference.Answer("The", Path.Combine(outside, "away.safetensors"), 8);
        Assert.Equal(expected, await api.ChatAsync("link", "The", 8));
        await api.PostAsync("/v1/load_lora_adapter", new { lora_name = "x", lora_path = Path.Combine(outside, "away.safetensors") });
        Assert.Equal(expected, await api.ChatAsync("x", "The", 8));
    }

    [Fact]
    public void A_directory_of_many_is_read_without_mixing_anything()
    {
        byte[] file = File.ReadAllBytes(PathOf("one"));
        for (int i = 0; i < 500; i++) File.WriteAllBytes(PathOf($"many/{i:D4}"), file);
        File.WriteAllText(PathOf("many/0250"), "broken");
        using AdapterPool pool = new(model);
        using AdapterDirectory directory = new(pool, root, "nola-tiny");
        directory.Scan();
        Assert.Equal(500, pool.Adapters.Count);
        Assert.Equal(0, pool.Statistics.Mixed);
        Assert.Equal("many/0250", Assert.Single(directory.Refused).Name);
    }

    public void Dispose()
    {
        reference.Dispose();
        model.Dispose();
        device.Dispose();
        Directory.Delete(root, recursive: true);
        Directory.Delete(outside, recursive: true);
    }

    private static object Asking(string name) => new { model = name, prompt = "The", max_tokens = 1 };

    private static string[] Ids(JsonElement list) =>
        [.. list.GetProperty("data").EnumerateArray().Select(m => m.GetProperty("id").GetString()!)];

    private static async Task<string[]> NamesAsync(Api api) => Ids(await api.GetAsync("/v1/models"));

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        for (int i = 0; i < 200; i++)
        {
            if (await condition()) return;
            await Task.Delay(50);
        }
        Assert.Fail("The directory was not looked at.");
    }

    private void Write(string name, int seed)
    {
        // Written beside it and renamed, as this library does; from where it is not seen as an adapter itself.
        string made = Path.Combine(outside, "made");
        TestAdapters.Write(reference.Model, made, seed);
        Directory.CreateDirectory(Path.GetDirectoryName(PathOf(name))!);
        File.Move(made, PathOf(name), overwrite: true);
    }

    private string PathOf(string name)
    {
        string path = Path.Combine(root, name + ".safetensors");
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        return path;
    }

    private string Expected(string name) => reference.Answer("The", PathOf(name), 8);

    private Task<NolaServer> StartAsync(bool allowOutside = false) =>
        NolaServer.StartAsync(model, new() { Url = "http://127.0.0.1:0", Adapters = root, AllowOutside = allowOutside });
}
