using System.Text.Json;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>How PEFT's directories have a method: which keys its configuration has, and which tensors.</summary>
internal abstract class PeftForm
{
    /// <summary>The value of <c>peft_type</c>.</summary>
    public abstract string PeftType { get; }

    /// <summary>What can be loaded, for messages.</summary>
    public abstract string Plain { get; }

    /// <summary>Its own keys that say nothing about the output of a loaded adapter.</summary>
    public abstract IReadOnlySet<string> Silent { get; }

    /// <summary>Its own keys that <see cref="Load"/> reads.</summary>
    public abstract IReadOnlySet<string> Understood { get; }

    /// <summary>Reads an adapter.</summary>
    /// <exception cref="NolaException">Configuration and tensors are not one whole adapter for the model.</exception>
    public abstract LoadedAdapter Load(PeftConfig config, PeftTensors tensors, IModel model);
}

/// <summary>
/// Adapters in the directory form of Hugging Face PEFT: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>. PEFT adapts
/// whole modules; an adapter on a part of one, such as the queries of GPT-2's <c>c_attn</c>, is written as the equal LoRA of the
/// whole, of a rank that holds all parts, with zeros between.
/// </summary>
public static class PeftFiles
{
    private const string ConfigName = "adapter_config.json", WeightsName = "adapter_model.safetensors";

    /// <summary>Writes any adapter whose deltas are low-rank products as a PEFT LoRA.</summary>
    /// <exception cref="NolaException">It is no such adapter, or the directory cannot be written.</exception>
    public static void Save(Adapter adapter, string directory)
    {
        IModel model = adapter.Model;
        PeftLora.Written written = PeftLora.Write(adapter);
        AtomicFile.EnsureDirectory(directory);
        SafetensorsWriter.Write(Path.Combine(directory, WeightsName), written.Tensors);
        string json = JsonSerializer.Serialize(written.Config, new JsonSerializerOptions { WriteIndented = true });
        AtomicFile.WriteText(Path.Combine(directory, ConfigName), json + "\n");
        AtomicFile.WriteText(Path.Combine(directory, "README.md"), ModelCard(adapter, model));
    }

    /// <summary>Reads a PEFT adapter for a model.</summary>
    /// <exception cref="NolaException">It is not a whole adapter for this model, of a method that can be loaded.</exception>
    public static LoadedAdapter Load(string directory, IModel model)
    {
        string path = Path.Combine(directory, ConfigName), weights = Path.Combine(directory, WeightsName);
        if (!File.Exists(path)) throw new NolaException($"{directory}: there is no {ConfigName}; expected a PEFT directory or a Nola adapter file.");
        if (!File.Exists(weights)) throw new NolaException($"{directory}: there is no {WeightsName}; adapter_model.bin cannot be read safely.");
        using PeftConfig config = PeftConfig.Read(path, model, out PeftForm form);
        using Safetensors file = Safetensors.Open(weights);
        return form.Load(config, new PeftTensors(file, model), model);
    }

    private static string ModelCard(Adapter adapter, IModel model) =>
        $"---\nbase_model: {model.Source}\nlibrary_name: peft\n---\n\n"
        + $"A LoRA equal to a Nola adapter ({adapter.Options.Method.Title}, rank {adapter.Options.Rank}, "
        + $"{adapter.ParameterCount:N0} trained values), written by `nola export`.\n";
}
