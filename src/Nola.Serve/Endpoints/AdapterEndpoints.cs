using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve;

/// <summary><c>POST /v1/load_lora_adapter</c> and <c>/v1/unload_lora_adapter</c>, as vLLM has them; for adapters of every method.</summary>
internal static class AdapterEndpoints
{
    /// <summary>Loads an adapter under a name; another one of the name is replaced.</summary>
    public static async Task LoadAsync(HttpContext context, ServerState state)
    {
        using JsonDocument body = await state.ReadAsync(context).ConfigureAwait(false);
        RequestFields fields = new(body.RootElement);
        string name = fields.RequiredText("lora_name"), path = fields.RequiredText("lora_path");
        // Replacing is what is done in any case; pinning keeps what was made of the adapter once somebody asked for it.
        fields.Ignore("load_inplace");
        bool pinned = fields.Flag("pinned");
        fields.RefuseOthers();
        PooledAdapter adapter = Load(state, name, path);
        if (pinned) adapter.IsPinned = true;
        AdapterAnswer answer = new("ok", $"The adapter {Quoted.Of(name)} is loaded.", name) { Fingerprint = adapter.Fingerprint };
        await JsonAnswer.WriteAsync(context.Response, answer, ServeJson.Wire.AdapterAnswer).ConfigureAwait(false);
    }

    /// <summary>Unloads an adapter; requests that are being answered by it go on.</summary>
    public static async Task UnloadAsync(HttpContext context, ServerState state)
    {
        using JsonDocument body = await state.ReadAsync(context).ConfigureAwait(false);
        RequestFields fields = new(body.RootElement);
        string name = fields.RequiredText("lora_name");
        // A number of other servers; the name says all.
        fields.Ignore("lora_int_id");
        fields.RefuseOthers();
        if (!Directory(state).Unload(name))
            throw new ApiException(404, $"There is no adapter {Quoted.Of(name)}; GET /v1/models lists them.")
            {
                Param = "lora_name",
                Code = ApiException.ModelNotFound,
            };
        AdapterAnswer answer = new("ok", $"The adapter {Quoted.Of(name)} is unloaded.", name);
        await JsonAnswer.WriteAsync(context.Response, answer, ServeJson.Wire.AdapterAnswer).ConfigureAwait(false);
    }

    private static AdapterDirectory Directory(ServerState state) => state.Models.Directory
        ?? throw new ApiException(403, "This server was started without a directory of adapters, so that none can be loaded.");

    private static PooledAdapter Load(ServerState state, string name, string path)
    {
        try
        {
            return Directory(state).Load(name, path);
        }
        catch (NolaException error)
        {
            bool named = AdapterName.IsValid(name) && name != state.Models.BaseName;
            throw ApiException.Bad(named ? "lora_path" : "lora_name", state.Models.WithoutRoot(error.Message), "adapter_refused");
        }
    }
}
