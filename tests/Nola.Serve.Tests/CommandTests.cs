using System.Diagnostics;
using System.Net;
using System.Text.Json;
using Nola.Models;
using Xunit;
using Xunit.Abstractions;

namespace Nola.Serve.Tests;

/// <summary><c>nola serve</c> as its users start it, and the page in a browser.</summary>
public sealed class CommandTests(ITestOutputHelper output) : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("nola-command-").FullName;
    private readonly Reference reference = new();

    [Fact]
    public async Task The_command_serves_says_where_and_ends_when_all_is_answered()
    {
        string file = Path.Combine(root, "alpha.safetensors");
        TestAdapters.Write(reference.Model, file, 1);
        using Process process = Start("--adapters", root, "--port", "0", "--threads", "1", "--json", "--api-key", "secret");
        JsonElement says = JsonElement.Parse((await process.StandardOutput.ReadLineAsync())!);
        Assert.Equal(("nola-tiny", 1, 0), (says.GetProperty("model").GetString(), says.GetProperty("adapters").GetInt32(),
            says.GetProperty("refused").GetInt32()));
        using Api api = new(new Uri(says.GetProperty("url").GetString()!), "secret");
        Assert.Equal(reference.Answer("The", file, 8), await api.ChatAsync("alpha", "The", 8));
        await ShowPageAsync(file);
        // What is asked before the signal is answered after it.
        Task<JsonElement> late = api.PostAsync(
            "/v1/completions", new { model = "alpha", prompt = "The", max_tokens = 150, temperature = 0, ignore_eos = true });
        while ((await api.GetAsync("/health")).GetProperty("running").GetInt32() == 0 && !late.IsCompleted) await Task.Delay(5);
        using (Process kill = Process.Start("kill", ["-TERM", $"{process.Id}"])) await kill.WaitForExitAsync();
        string expected = reference.Continue("The", file, 150, new() { StopTokens = [] }).Text;
        JsonElement answer = await late;
        Assert.Equal(150, answer.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        Assert.StartsWith(expected[..20], answer.GetProperty("choices")[0].GetProperty("text").GetString());
        await process.WaitForExitAsync(new CancellationTokenSource(TimeSpan.FromSeconds(20)).Token);
        string error = await process.StandardError.ReadToEndAsync();
        Assert.True(process.ExitCode == 0, error);
        Assert.Contains("Stopping when what is being answered is answered.", error);
    }

    [Fact]
    public async Task A_directory_that_is_not_there_is_one_sentence()
    {
        using Process process = Start("--adapters", Path.Combine(root, "none"), "--port", "0");
        string error = await process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.Equal(1, process.ExitCode);
        Assert.Contains("there is no such directory of adapters", error);
    }

    public void Dispose()
    {
        reference.Dispose();
        Directory.Delete(root, recursive: true);
    }

    // On a server of its own without a key, which a link does not carry.
    private async Task ShowPageAsync(string file)
    {
        string? browser = ((string[])["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])
            .SelectMany(name => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(path => Path.Combine(path, name)))
            .FirstOrDefault(File.Exists);
        if (browser is null)
        {
            output.WriteLine("The page was not run: no Chromium is on the path.");
            Console.WriteLine("The page was not run in a browser: no Chromium is on the path.");
            return;
        }
        using Process process = Start("--adapters", root, "--port", "0", "--threads", "1", "--json");
        Uri address = new(JsonElement.Parse((await process.StandardOutput.ReadLineAsync())!).GetProperty("url").GetString()!);
        string query = $"?model=alpha&kind=context&prompt={Uri.EscapeDataString(ServerFixture.Context)}&max_tokens=12&run=1";
        string[] flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"];
        using Process page = Process.Start(new ProcessStartInfo(browser, [.. flags, new Uri(address, query).ToString()])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        string dom = await page.StandardOutput.ReadToEndAsync();
        process.Kill();
        Assert.Contains("data-done=\"yes\"", dom);
        string text = WebUtility.HtmlDecode(System.Text.RegularExpressions.Regex.Replace(
            dom[dom.IndexOf("id=\"answer\"", StringComparison.Ordinal)..].Split("</div>")[0], "^[^>]*>|<[^>]*>|\u200b▪", ""));
        Assert.Equal(reference.Answer(ServerFixture.Context, file, 12), text);
        Assert.Contains("data-tip=", dom);
    }

    private static Process Start(params string[] arguments) => Process.Start(new ProcessStartInfo(
        "dotnet", [Path.Combine(AppContext.BaseDirectory, "nola.dll"), "serve", .. arguments])
    {
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    })!;
}
