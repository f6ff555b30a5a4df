using Nola.Models;
using Nola.Tensors;

namespace Nola.Serve.Tests;

/// <summary>The embedded model by itself, as <c>nola generate</c> has it: what every greedy answer of a server must equal.</summary>
internal sealed class Reference : IDisposable
{
    private readonly Device device = Device.Open("cpu", 1);
    private readonly Lock door = new();

    public Reference() => Model = LanguageModel.Load(LanguageModel.EmbeddedName, device);

    public LanguageModel Model { get; }

    public ITokenizer Tokenizer => Model.Tokenizer;

    /// <summary>A context as a task was taught to answer it, as <c>nola generate</c> does.</summary>
    public string Answer(string context, string? adapter, int tokens)
    {
        lock (door)
        {
            using LoadedAdapter? loaded = adapter is null ? null : AdapterFile.Load(adapter, Model);
            return Model.Generate(context, loaded, new() { MaxNewTokens = tokens });
        }
    }

    /// <summary>A text that is continued as it stands, as <c>nola generate --raw</c> does: the new tokens, and their text.</summary>
    public (int[] Ids, string Text) Continue(string prompt, string? adapter, int tokens, GenerateOptions? options = null) =>
        Continue(Tokenizer.EncodePrompt(prompt), adapter, tokens, options);

    public (int[] Ids, string Text) Continue(int[] prompt, string? adapter, int tokens, GenerateOptions? options = null)
    {
        lock (door)
        {
            using LoadedAdapter? loaded = adapter is null ? null : AdapterFile.Load(adapter, Model);
            int[] ids = Model.Generate(prompt, loaded, (options ?? new()) with { MaxNewTokens = tokens });
            IncrementalDecoder decoder = new(Tokenizer);
            IReadOnlyList<int> stops = options?.StopTokens ?? Model.StopTokens;
            return (ids, decoder.AddAll(ids.Where(id => !stops.Contains(id))) + decoder.End());
        }
    }

    /// <summary>log p of every token of a sequence but the first, and of the likeliest one in its place.</summary>
    public (double Own, double Likeliest)[] Logprobs(int[] ids, string? adapter)
    {
        lock (door)
        {
            using LoadedAdapter? loaded = adapter is null ? null : AdapterFile.Load(adapter, Model);
            float[] logits = Model.Logits(ids, loaded);
            int vocabulary = Model.Shape.Vocabulary;
            return [.. Enumerable.Range(1, ids.Length - 1).Select(i =>
            {
                ReadOnlySpan<float> row = logits.AsSpan((i - 1) * vocabulary, vocabulary);
                double most = double.NegativeInfinity, sum = 0;
                foreach (float value in row) most = Math.Max(most, value);
                foreach (float value in row) sum += Math.Exp(value - most);
                return (row[ids[i]] - most - Math.Log(sum), -Math.Log(sum));
            })];
        }
    }

    public void Dispose()
    {
        Model.Dispose();
        device.Dispose();
    }
}
