using System.CommandLine;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cli;

/// <summary><c>nola generate</c>: continues a prompt, streaming.</summary>
internal static class GenerateCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Option<string> prompt = new("--prompt") { Description = "The context. Read from standard input when neither this nor --ids is given" };
        Option<string> ids = new("--ids") { Description = "Token ids in place of a prompt, taken as they stand, for example \"15496,995\"" };
        Option<bool> raw = new("--raw") { Description = "Continue the text itself; else the prompt is a context, followed by token 50256 as in training" };
        Option<int> maxNew = new("--max-new") { Description = "Most new tokens", DefaultValueFactory = _ => 64 };
        Option<float> temperature = new("--temperature") { Description = "0 for the likeliest token each time, 1 for the model's own distribution" };
        Option<int> topK = new("--top-k") { Description = "Sample from this many likeliest tokens; 0 for all" };
        Option<float> topP = new("--top-p") { Description = "Sample from the likeliest tokens with this sum of probabilities", DefaultValueFactory = _ => 1f };
        Option<ulong> seed = new("--seed") { Description = "Of the sampling" };
        Option<string> stop = new("--stop") { Description = "Token ids that end the text; \"\" for none", DefaultValueFactory = _ => "50256,628" };
        Command command = new("generate", "Continue a prompt with a model and, if given, an adapter.") { prompt, ids, raw, maxNew, temperature, topK, topP, seed, stop, common.Json };
        common.AddTo(command);
        command.Does((r, cancel) =>
        {
            GenerateOptions options = new()
            {
                MaxNewTokens = r.GetValue(maxNew),
                Temperature = r.GetValue(temperature),
                TopK = r.GetValue(topK),
                TopP = r.GetValue(topP),
                Seed = r.GetValue(seed),
                StopTokens = CommonOptions.Ids(r.GetValue(stop)!, "--stop"),
            };
            options.Validate();
            // The tokenizer and the model are ready at about the same time.
            if (r.GetValue(ids) is null) _ = Task.Run(Gpt2Tokenizer.Default.Prepare, CancellationToken.None);
            return common.WithModel(r, (model, _) => Run(model, Prompt(r.GetValue(prompt), r.GetValue(ids)), r.GetValue(ids), r.GetValue(raw), options, r.GetValue(common.Json), cancel));
        });
        return command;
    }

    private static string Prompt(string? prompt, string? ids) => prompt ?? (ids is null ? Console.In.ReadToEnd().TrimEnd('\n', '\r') : "");

    private static int Run(Gpt2 model, string prompt, string? ids, bool raw, GenerateOptions options, bool json, CancellationToken cancel)
    {
        // With ids and --json no text is needed, so that a model without a tokenizer can be asked too.
        Gpt2Tokenizer? tokenizer = ids is not null && json ? null : ModelTokenizer.For(model.Source, model.Config);
        int[] context = ids is not null ? CommonOptions.Ids(ids, "--ids")
            : raw ? (prompt.Length == 0 ? [Gpt2Tokenizer.EndOfText] : tokenizer!.Encode(prompt))
            : [.. tokenizer!.Encode(prompt), Gpt2Tokenizer.EndOfText];
        IncrementalDecoder? decoder = json || tokenizer is null ? null : new(tokenizer);
        bool first = true;
        int[] generated = model.Generate(context, options, token =>
        {
            if (decoder is null || options.StopTokens.Contains(token)) return;
            string text = decoder.Add(token);
            // A completion begins with the space that the encoders put before it.
            Console.Out.Write(first && !raw ? text.TrimStart() : text);
            Console.Out.Flush();
            first = false;
        }, cancel);
        if (!json)
        {
            Console.Out.WriteLine();
            return 0;
        }
        int[] spoken = [.. generated.Where(id => !options.StopTokens.Contains(id))];
        if (tokenizer is null) Terminal.Json(new { ids = generated });
        else Terminal.Json(new { text = tokenizer.Decode(spoken).TrimStart(), ids = generated });
        return 0;
    }
}
