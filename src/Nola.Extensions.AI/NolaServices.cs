using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Extensions.AI;

/// <summary>Nola among an application's services.</summary>
public static class NolaServices
{
    /// <summary>
    /// Adds a base model with its adapters: <see cref="NolaHost"/>, an <see cref="IChatClient"/> for the base model, and one for each
    /// adapter, whose key is the adapter's name. The model is loaded when the first of them is asked for.
    /// </summary>
    /// <param name="services">The services.</param>
    /// <param name="options">What is loaded.</param>
    public static IServiceCollection AddNola(this IServiceCollection services, NolaHostOptions? options = null)
    {
        services.TryAddSingleton(_ => new NolaHost(options));
        services.TryAddSingleton(provider => provider.GetRequiredService<NolaHost>().CreateChatClient());
        services.AddKeyedSingleton(KeyedService.AnyKey, Client);
        return services;
    }

    // A key that is no adapter's is refused here already, and not with the first question.
    private static IChatClient Client(IServiceProvider provider, object? key)
    {
        NolaHost host = provider.GetRequiredService<NolaHost>();
        string name = key as string ?? throw new NolaException($"A chat client is asked for by {key}; expected an adapter's name.");
        return host.Names.TryFind(name, out PooledAdapter? _)
            ? host.CreateChatClient(name)
            : throw new NolaException($"There is no adapter {Quoted.Of(name)} beside the model {Quoted.Of(host.Names.Base)}.");
    }
}
