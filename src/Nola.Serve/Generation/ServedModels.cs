using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary>What a request is answered by.</summary>
/// <param name="Name">As the request called it.</param>
/// <param name="Adapter">The adapter; null for the base model.</param>
/// <param name="Fingerprint">A digest of it, short.</param>
internal sealed record Target(string Name, PooledAdapter? Adapter, string Fingerprint);

/// <summary>What a server answers by: the base model and the adapters beside it.</summary>
/// <param name="model">The base model.</param>
/// <param name="name">What requests call it.</param>
/// <param name="pool">Its adapters.</param>
/// <param name="directory">Where they come from; null for nowhere.</param>
internal sealed class ServedModels(LanguageModel model, string name, AdapterPool pool, AdapterDirectory? directory)
{
    private readonly ModelNames names = new(model, name, pool, directory);

    /// <summary>The base model.</summary>
    public LanguageModel Model { get; } = model;

    /// <summary>What requests call it.</summary>
    public string BaseName { get; } = name;

    /// <summary>The digest of the base.</summary>
    public string Fingerprint { get; } = model.Identity;

    /// <summary>Where adapters come from; null for nowhere.</summary>
    public AdapterDirectory? Directory { get; } = directory;

    /// <summary>All adapters.</summary>
    public IReadOnlyCollection<PooledAdapter> Adapters => pool.Adapters;

    /// <summary>What a name stands for.</summary>
    /// <exception cref="ApiException">There is nothing of this name, or its file cannot be read.</exception>
    public Target Resolve(string asked)
    {
        try
        {
            if (names.TryFind(asked, out PooledAdapter? adapter)) return new(asked, adapter, Short(adapter?.Fingerprint ?? Fingerprint));
        }
        catch (NolaException error)
        {
            string refused = $"The adapter {Quoted.Of(asked)} was refused. {WithoutRoot(error.Message)}";
            throw ApiException.Bad("model", refused, "adapter_refused");
        }
        throw new ApiException(
            404, $"There is no model {Quoted.Of(asked)}: the base is {Quoted.Of(BaseName)}, and GET /v1/models lists the adapters.")
        {
            Param = "model",
            Code = ApiException.ModelNotFound,
        };
    }

    /// <summary>A path of an adapter from the directory on. Where that is on this machine is nobody's business.</summary>
    public string Shown(string path) =>
        (Directory is null ? path : Path.GetRelativePath(Directory.Root, path)).Replace(Path.DirectorySeparatorChar, '/');

    /// <summary>A message with the paths in it from the directory on.</summary>
    public string WithoutRoot(string message) =>
        Directory is null ? message : message.Replace(Directory.Root + Path.DirectorySeparatorChar, "");

    private static string Short(string fingerprint) => $"fp_{fingerprint.Replace(":", "")[..16]}";
}
