using System.Text.Json;
using Nola.Autograd;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>A model's directory with what PyTorch made of it: a case in JSON, and the expected tensors.</summary>
internal class GoldenFile(string place) : IDisposable
{
    private readonly Safetensors expected = Safetensors.Open(Path.Combine(place, "expected.safetensors"));

    public string Place => place;

    public JsonElement Case { get; } = JsonDocument.Parse(File.ReadAllText(Path.Combine(place, "case.json"))).RootElement;

    public int Gradients => expected.Entries.Count(entry => entry.Name.StartsWith("grad."));

    public bool Has(string start) => expected.Entries.Any(entry => entry.Name.StartsWith(start));

    public float[] Values(string name) => expected.ReadFinite(expected.Get(name));

    // The file's factors are (r, in) and (out, r) as in PEFT; ours are their transposes.
    public float[] Turned(string name)
    {
        long[] shape = [.. expected.Get(name).Shape];
        return [.. Reference.Transpose(OpCheck.Wide(Values(name)), (int)shape[0], (int)shape[1]).Select(v => (float)v)];
    }

    public void Dispose() => expected.Dispose();

    /// <summary>The largest difference may be so much of the largest value.</summary>
    public static void Close(float[] wanted, float[] got, double tolerance, string what)
    {
        Assert.Equal(wanted.Length, got.Length);
        double largest = wanted.Max(value => Math.Abs((double)value)), worst = wanted.Zip(got, (w, g) => Math.Abs((double)w - g)).Max();
        Assert.True(worst <= tolerance * largest, $"{what}: largest difference {worst:E2} of {largest:E2}, allowed {tolerance:E1} of it");
    }

    /// <summary>The gradient of every weight by the checkpoint's name, in the checkpoint's order of values.</summary>
    public static IEnumerable<(string Name, float[] Values)> GradientsOf(IReadOnlyList<LinearMap> maps, IReadOnlyList<Parameter> parameters)
    {
        HashSet<Parameter> ofMaps = [];
        foreach (LinearMap map in maps)
        {
            float[] whole = map.Weight!.Gradient.ToArray(), bias = map.Bias?.Gradient.ToArray() ?? [];
            ofMaps.Add(map.Weight);
            if (map.Bias is not null) ofMaps.Add(map.Bias);
            foreach (LinearModule module in map.Modules)
            {
                yield return (module.Name + ".weight",
                    [.. Enumerable.Range(0, module.Out * map.In).Select(n => whole[n % map.In * map.Out + module.Column + n / map.In])]);
                if (map.Bias is not null) yield return (module.Name + ".bias", bias[module.Column..(module.Column + module.Out)]);
            }
        }
        foreach (Parameter parameter in parameters.Where(parameter => !ofMaps.Contains(parameter)))
            yield return (parameter.Name, parameter.Gradient.ToArray());
    }
}
