using System.Text;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// Finds models in directories and in the Hugging Face cache (<c>HF_HUB_CACHE</c>, else <c>HF_HOME/hub</c>, else
/// <c>XDG_CACHE_HOME/huggingface/hub</c>, else <c>~/.cache/huggingface/hub</c>). Nothing is downloaded, and no link is
/// followed out of the cache.
/// </summary>
/// <param name="environment">Reads an environment variable.</param>
/// <param name="home">The user's home directory.</param>
public sealed class ModelLocator(Func<string, string?> environment, string home)
{
    private static readonly string[] sizes = ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"];

    // Bytes of a file that names a commit.
    private const int LongestReference = 1000;

    /// <summary>The locator of this process.</summary>
    public static ModelLocator Current { get; } =
        new(Environment.GetEnvironmentVariable, Environment.GetFolderPath(Environment.SpecialFolder.UserProfile));

    /// <summary>Root of the Hugging Face cache.</summary>
    public string Cache => Path.GetFullPath(
        Set("HF_HUB_CACHE") ?? (Set("HF_HOME") is { } hf ? Path.Combine(hf, "hub") : null)
        ?? Path.Combine(Set("XDG_CACHE_HOME") ?? Path.Combine(home, ".cache"), "huggingface", "hub"));

    /// <summary>The directory of a model given as a directory, or as a name in the cache.</summary>
    /// <exception cref="NolaException">There is none; the message says where it was looked for and how to get it.</exception>
    public string Find(string model)
    {
        if (Directory.Exists(model))
        {
            if (File.Exists(Path.Combine(model, "config.json"))) return model;
            throw new NolaException(
                $"{model}: there is no config.json in this directory; expected a checkpoint with config.json and model.safetensors.");
        }
        if (File.Exists(model))
        {
            string directory = Path.GetDirectoryName(Path.GetFullPath(model))!;
            throw new NolaException(
                $"{model}: is a file; "
                + $"a model is a directory with config.json and model.safetensors, so give {directory} if they are there.");
        }
        string? problem = null;
        foreach (string repository in Repositories(model))
        {
            string? snapshot = Snapshot(repository, out _, out string? failure);
            if (snapshot is not null) return snapshot;
            problem ??= failure;
        }
        throw new NolaException(problem is null
            ? $"Model '{model}' is neither a directory nor in the Hugging Face cache {Cache}. "
                + "Put its config.json and model.safetensors into a directory and give that path."
            : $"Model '{model}' is in the Hugging Face cache but cannot be used: {problem}.");
    }

    /// <summary>The directories of all models in the cache, by name; <c>models--gpt2</c> is <c>gpt2</c>.</summary>
    /// <exception cref="NolaException">The cache cannot be listed.</exception>
    internal IReadOnlyList<(string Name, string Directory)> Repositories()
    {
        if (!Directory.Exists(Cache)) return [];
        try
        {
            string[] repositories = Directory.GetDirectories(Cache, "models--*");
            return [.. repositories.Order(StringComparer.Ordinal).Select(path => (NameOf(path), path))];
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NolaException($"{Cache}: cannot be listed ({error.Message.TrimEnd('.')}).", error);
        }

        static string NameOf(string path) => Path.GetFileName(path)["models--".Length..].Replace("--", "/");
    }

    /// <summary>The files of a repository's present revision: those of refs/main, or the only snapshot.</summary>
    /// <param name="repository">A directory of the cache.</param>
    /// <param name="revision">The commit.</param>
    /// <param name="problem">Why there are none that can be used.</param>
    internal string? Snapshot(string repository, out string revision, out string? problem)
    {
        (revision, problem) = ("", null);
        string snapshots = Path.Combine(repository, "snapshots"), reference = Path.Combine(repository, "refs", "main");
        if (!Directory.Exists(snapshots))
        {
            if (Directory.Exists(repository)) problem = $"there are no snapshots in {repository}; download the model again";
            return null;
        }
        if (File.Exists(reference)) revision = Encoding.UTF8.GetString(InputFile.ReadAll(reference, LongestReference)).Trim();
        else if (Directory.GetDirectories(snapshots) is [string only]) revision = Path.GetFileName(only);
        bool named = revision is not ("" or "." or "..") && revision == Path.GetFileName(revision);
        if (!named || !Directory.Exists(Path.Combine(snapshots, revision)))
        {
            problem = $"refs/main of {repository} names no snapshot that is there; download the model again";
            return null;
        }
        string directory = Path.Combine(snapshots, revision);
        problem = Directory.EnumerateFileSystemEntries(directory).Where(IsRead).Select(Leaves).FirstOrDefault(found => found is not null);
        if (problem is not null) return null;
        if (File.Exists(Path.Combine(directory, "config.json"))) return directory;
        problem = $"there is no config.json in {directory}";
        return null;
    }

    private IEnumerable<string> Repositories(string model)
    {
        if (model.Contains("..", StringComparison.Ordinal) || model.Contains('\\')) yield break;
        yield return Path.Combine(Cache, "models--" + model.Replace("/", "--"));
        if (sizes.Contains(model)) yield return Path.Combine(Cache, "models--openai-community--" + model);
    }

    // What is never read may be missing, or anywhere.
    private static bool IsRead(string path) => Path.GetExtension(path) is ".json" or ".txt" or ".safetensors" or ".model" or ".jinja";

    // Why a file of a snapshot is not to be read: blobs are in the cache, or in the directory that the cache is a link to.
    private string? Leaves(string path)
    {
        string final = Final(path);
        if (final.Length == 0)
        {
            string target = new FileInfo(path).LinkTarget ?? "";
            return $"{path} is a link to {target}, which leads nowhere; download the model again";
        }
        return Inside(final, Cache) || Inside(final, Final(Cache)) ? null : $"{path} is a link that leaves the cache, to {final}";
    }

    private static bool Inside(string path, string root) => path.StartsWith(root + Path.DirectorySeparatorChar, StringComparison.Ordinal);

    // The path with its links followed; a link to nothing stays outside every directory.
    private static string Final(string path)
    {
        try
        {
            FileSystemInfo? target = Directory.Exists(path) ? Directory.ResolveLinkTarget(path, true) : File.ResolveLinkTarget(path, true);
            return target is null ? Path.GetFullPath(path) : target.Exists ? target.FullName : "";
        }
        catch (IOException)
        {
            return "";
        }
    }

    private string? Set(string name) => environment(name) is { Length: > 0 } value ? value : null;
}
