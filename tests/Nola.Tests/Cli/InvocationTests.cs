using Nola.Cli;
using Nola.Models;
using Xunit;

namespace Nola.Tests;

public sealed class InvocationTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Theory]
    [InlineData("", "dotnet run -c Release --project src/Nola.Cli --")]
    [InlineData("src", "dotnet run -c Release --project Nola.Cli --")]
    [InlineData("runs", "dotnet run -c Release --project ../src/Nola.Cli --")]
    public void A_program_built_from_its_sources_is_run_by_dotnet_run(string current, string expected)
    {
        string project = Path.Combine(directory, "src", "Nola.Cli");
        string program = Path.Combine(project, "bin", "Release", "net10.0") + Path.DirectorySeparatorChar;
        Directory.CreateDirectory(program);
        File.WriteAllText(Path.Combine(project, "Nola.Cli.csproj"), "<Project />");
        Assert.Equal(expected, Invocation.Of(program, Path.Combine(directory, current)).Replace('\\', '/'));
    }

    [Theory]
    [InlineData(".dotnet/tools/.store/nola.cli/0.1.0/nola.cli/0.1.0/tools/net10.0/any/")]
    [InlineData("usr/bin/")]
    [InlineData("other/bin/Release/net10.0")]
    public void An_installed_program_is_run_by_its_name(string program) =>
        Assert.Equal("nola", Invocation.Of(Path.Combine(directory, program), directory));

    [Fact]
    public void What_asks_the_trained_adapter_names_its_model_unless_it_is_the_embedded_one()
    {
        Assert.Equal(
            "generate --adapter runs/first/adapter.safetensors --prompt \"name : A\"",
            TrainCommand.Ask(LanguageModel.EmbeddedName, "runs/first/adapter.safetensors", "name : A"));
        Assert.Equal(
            "generate --model gpt2-medium --adapter \"my runs/adapter.safetensors\" --prompt \"name : A\"",
            TrainCommand.Ask("gpt2-medium", "my runs/adapter.safetensors", "name : A"));
    }
}
