using System.Net;
using System.Net.Sockets;
using System.Reflection;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary>
/// A language model, with the adapters of a directory beside it, by HTTP: the part of OpenAI's API that evaluation harnesses and chat
/// clients use. It answers from when it is started until it is disposed.
/// </summary>
public sealed class NolaServer : IAsyncDisposable
{
    private readonly WebApplication app;
    private readonly ServerState state;
    private readonly AdapterPool pool;
    private readonly PrometheusText metrics;
    private bool stopped;

    private NolaServer(WebApplication app, ServerState state, AdapterPool pool, PrometheusText metrics) =>
        (this.app, this.state, this.pool, this.metrics) = (app, state, pool, metrics);

    /// <summary>Where it listens.</summary>
    public Uri Address { get; private set; } = new("http://127.0.0.1");

    /// <summary>What requests call the base model.</summary>
    public string ModelName => state.Models.BaseName;

    /// <summary>The adapters that it serves.</summary>
    public AdapterPool Adapters => pool;

    /// <summary>The directory that they come from; null for none.</summary>
    public AdapterDirectory? Directory => state.Models.Directory;

    /// <summary>What generates.</summary>
    public Scheduler Scheduler => state.Scheduler;

    /// <summary>The paths that it knows.</summary>
    internal IEnumerable<string> Routes => app.Services.GetServices<EndpointDataSource>().Concat(((IEndpointRouteBuilder)app).DataSources)
        .SelectMany(source => source.Endpoints).OfType<RouteEndpoint>().Select(endpoint => endpoint.RoutePattern.RawText!).Distinct();

    /// <summary>Reads the adapters' files, which mixes nothing, and begins to listen.</summary>
    /// <param name="model">The base model; nothing else may use its device until the server is disposed.</param>
    /// <param name="options">How it is served.</param>
    /// <param name="cancel">Ends the start.</param>
    /// <exception cref="NolaException">
    /// An option is none, there is no such directory, the model has no tokenizer, or the address is taken.
    /// </exception>
    public static async Task<NolaServer> StartAsync(LanguageModel model, ServeOptions? options = null, CancellationToken cancel = default)
    {
        options ??= new();
        Uri address = options.Check();
        // What is found once, before many ask at once.
        model.Tokenizer.Prepare();
        _ = model.StopTokens;
        FindChat(model, options.Log);
        AdapterPool pool = new(model, options.Pool);
        AdapterDirectory? directory = null;
        Scheduler? scheduler = null;
        NolaServer? server = null;
        try
        {
            string name = options.ModelName ?? ModelNames.Of(model);
            directory = options.Adapters is { } path ? new(pool, path, name, options.AllowOutside) : null;
            directory?.Scan(cancel);
            foreach (RefusedAdapter refused in directory?.Refused ?? []) options.Log?.Invoke($"Without {refused.Name}: {refused.Reason}");
            scheduler = new(model, pool, options.Scheduler);
            ServerMeter counted = new();
            ServerState state = new(options, new(model, name, pool, directory), scheduler, counted);
            PrometheusText metrics = new(counted.Meter, scheduler.Meter);
            server = new(Build(state, metrics, address), state, pool, metrics);
            await server.ListenAsync(address, cancel).ConfigureAwait(false);
            directory?.Watch(state.Log);
            return server;
        }
        catch
        {
            if (server is not null) await server.DisposeAsync().ConfigureAwait(false);
            else
            {
                directory?.Dispose();
                if (scheduler is not null) await scheduler.DisposeAsync().ConfigureAwait(false);
                pool.Dispose();
            }
            throw;
        }
    }

    /// <summary>
    /// Stops: nobody is let in any more, and what is being answered is answered to its end, or until <see cref="ServeOptions.Drain"/> is
    /// over.
    /// </summary>
    public async Task StopAsync()
    {
        if (stopped) return;
        stopped = true;
        // Connections are closed when their last answer is given; those that take longer are cut, which cancels what they asked for.
        using CancellationTokenSource patience = new(state.Options.Drain);
        try
        {
            await app.StopAsync(patience.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // The patience is over.
        }
    }

    /// <summary>Stops, if it has not been, and gives everything back but the model.</summary>
    public async ValueTask DisposeAsync()
    {
        await StopAsync().ConfigureAwait(false);
        await app.DisposeAsync().ConfigureAwait(false);
        state.Models.Directory?.Dispose();
        await state.Scheduler.DisposeAsync().ConfigureAwait(false);
        pool.Dispose();
        metrics.Dispose();
        state.Meter.Dispose();
    }

    private async Task ListenAsync(Uri address, CancellationToken cancel)
    {
        try
        {
            await app.StartAsync(cancel).ConfigureAwait(false);
        }
        catch (Exception error) when (error is IOException or SocketException)
        {
            throw new NolaException($"{address}: cannot be listened at ({error.Message.TrimEnd('.')}); choose another port.", error);
        }
        string bound = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        Address = new(bound.Replace("[::]", "localhost").Replace("0.0.0.0", "localhost"));
    }

    // A chat template that is not known is told now; requests that need it are told too.
    private static void FindChat(LanguageModel model, Action<string>? log)
    {
        try
        {
            model.FindChat();
        }
        catch (NolaException error)
        {
            log?.Invoke(error.Message);
        }
    }

    private static WebApplication Build(ServerState state, PrometheusText metrics, Uri address)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.Services.AddRoutingCore();
        builder.WebHost.UseKestrelCore();
        // Nothing of the surroundings is read, neither files nor variables. Signals are the program's, which knows what else is to be
        // ended.
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = state.Options.Drain);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = RequestBody.MostDiscarded;
            Listen(kestrel, address);
        });
        WebApplication app = builder.Build();
        Gate gate = new(state);
        app.Use((context, next) => gate.PassAsync(context, next));
        Map(app, state, metrics);
        return app;
    }

    private static void Listen(KestrelServerOptions kestrel, Uri address)
    {
        if (address.Host == "localhost" && address.Port > 0) kestrel.ListenLocalhost(address.Port);
        else if (IPAddress.TryParse(address.Host.Trim('[', ']'), out IPAddress? ip)) kestrel.Listen(ip, address.Port);
        else if (address.Host == "localhost") kestrel.Listen(IPAddress.Loopback, address.Port);
        else throw new NolaException($"{Quoted.Of(address.Host)} is no address to listen at; expected an IP address, or localhost.");
    }

    private static void Map(WebApplication app, ServerState state, PrometheusText metrics)
    {
        Post("/v1/completions", CompletionsEndpoint.AnswerAsync);
        Post("/v1/chat/completions", ChatEndpoint.AnswerAsync);
        Post("/v1/load_lora_adapter", AdapterEndpoints.LoadAsync);
        Post("/v1/unload_lora_adapter", AdapterEndpoints.UnloadAsync);
        Post("/tokenize", TokenEndpoints.TokenizeAsync);
        Post("/detokenize", TokenEndpoints.DetokenizeAsync);
        Get("/tokenizer_info", TokenEndpoints.InfoAsync);
        Get("/v1/models", ListingEndpoints.ModelsAsync);
        Get("/v1/models/{**name}", ListingEndpoints.ModelAsync);
        Get("/health", ListingEndpoints.HealthAsync);
        Get("/metrics", (context, _) => ListingEndpoints.MetricsAsync(context, metrics));
        Get("/openapi.json", (context, _) => ResourceAsync(context, "openapi.json", "application/json; charset=utf-8"));
        Get("/", (context, _) => ResourceAsync(context, "page.html", "text/html; charset=utf-8"));

        void Get(string path, Func<HttpContext, ServerState, Task> answer) => app.MapGet(path, context => answer(context, state));

        void Post(string path, Func<HttpContext, ServerState, Task> answer) => app.MapPost(path, context => answer(context, state));
    }

    private static async Task ResourceAsync(HttpContext context, string name, string type)
    {
        using Stream resource = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)!;
        context.Response.ContentType = type;
        context.Response.ContentLength = resource.Length;
        // The page talks to this server and to nobody else.
        context.Response.Headers.ContentSecurityPolicy =
            "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
            + "frame-ancestors 'none'";
        await resource.CopyToAsync(context.Response.Body, context.RequestAborted).ConfigureAwait(false);
    }

    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
