using Nola.Tensors;

namespace Nola.Models;

/// <summary>
/// The names that can be asked for: the base model, an adapter, or both as <c>base:adapter</c>. Whoever names an adapter gets that
/// adapter, or nothing; never the base.
/// </summary>
/// <param name="model">The base model, which may also be asked for by what it was loaded by.</param>
/// <param name="baseName">What it is called.</param>
/// <param name="pool">The adapters beside it.</param>
/// <param name="directory">Where they come from; null for nowhere.</param>
internal sealed class ModelNames(LanguageModel model, string baseName, AdapterPool pool, AdapterDirectory? directory)
{
    private const string Separator = ":";

    /// <summary>What the base model is called.</summary>
    public string Base => baseName;

    /// <summary>What a name stands for.</summary>
    /// <param name="name">The name.</param>
    /// <param name="adapter">The adapter; null for the base model.</param>
    /// <returns>Whether there is something of the name.</returns>
    /// <exception cref="NolaException">There is a file of the name, and it is no adapter of the base.</exception>
    public bool TryFind(string name, out PooledAdapter? adapter)
    {
        adapter = null;
        if (name == baseName || name == model.Source) return true;
        adapter = Find(name);
        string prefix = baseName + Separator;
        if (adapter is null && name.StartsWith(prefix, StringComparison.Ordinal)) adapter = Find(name[prefix.Length..]);
        return adapter is not null;
    }

    /// <summary>What a model is called that nobody has named: as it was loaded, or as its directory is called.</summary>
    public static string Of(LanguageModel model) => Directory.Exists(model.Source)
        ? Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(model.Source)))
        : model.Source;

    private PooledAdapter? Find(string name) =>
        directory is not null ? directory.Find(name) : pool.TryGet(name, out PooledAdapter? known) ? known : null;
}
