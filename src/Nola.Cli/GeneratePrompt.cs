using System.Globalization;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola generate</c> of one prompt: its text token by token, or several samples with a line for each.</summary>
/// <param name="model">The model with its adapter.</param>
/// <param name="options">How to choose; with a seed where they sample.</param>
/// <param name="raw">Continue the text itself, without token 50256 after it.</param>
/// <param name="json">An object for each text in place of the text.</param>
internal sealed class GeneratePrompt(Gpt2 model, GenerateOptions options, bool raw, bool json)
{
    /// <summary>Continues a text or token ids, whichever is not null.</summary>
    public int Run(string? text, string? ids, CancellationToken cancel)
    {
        Gpt2Tokenizer? tokenizer = ids is null ? ModelTokenizer.For(model.Source, model.Config) : CommonOptions.Tokenizer(model);
        int[] context = ids is not null ? CommonOptions.Ids(ids, "--ids") : Context(text!, tokenizer!);
        if (tokenizer is null && !json) Terminal.Say("The model has no tokenizer, so that token ids are printed in place of text.");
        SamplingOptions.SaySeed(options);
        return options.NumSamples > 1 ? Several(context, tokenizer, cancel) : One(context, tokenizer, cancel);
    }

    private int[] Context(string prompt, Gpt2Tokenizer tokenizer)
    {
        if (!raw) return [.. tokenizer.Encode(prompt), Gpt2Tokenizer.EndOfText];
        return prompt.Length == 0 ? [Gpt2Tokenizer.EndOfText] : tokenizer.Encode(prompt);
    }

    private int One(int[] context, Gpt2Tokenizer? tokenizer, CancellationToken cancel)
    {
        int[] generated = model.Generate(context, options, json ? null : Printer(tokenizer), cancel);
        if (!json) Console.Out.WriteLine();
        cancel.ThrowIfCancellationRequested();
        FinishReason reason = Reason(context, generated);
        if (json) Console.Out.WriteLine(GeneratedLine.Json(null, Text(generated, tokenizer), generated, reason, options, index: 0));
        if (reason == FinishReason.Context) SayContext(context);
        return 0;
    }

    private int Several(int[] context, Gpt2Tokenizer? tokenizer, CancellationToken cancel)
    {
        int[][] all = model.GenerateAll([context], options, null, cancel);
        for (int s = 0; s < all.Length; s++)
        {
            string? text = Text(all[s], tokenizer);
            Console.Out.WriteLine(json
                ? GeneratedLine.Json(null, text, all[s], Reason(context, all[s]), options, s)
                : GeneratedText.OneLine(text ?? GeneratedLine.Ids(all[s])));
        }
        if (all.Any(ids => Reason(context, ids) == FinishReason.Context)) SayContext(context);
        return 0;
    }

    // Prints each token as it comes: its text, or its id.
    private Action<int> Printer(Gpt2Tokenizer? tokenizer)
    {
        IncrementalDecoder? decoder = tokenizer is null ? null : new(tokenizer);
        bool first = true;
        return token =>
        {
            if (decoder is null) Console.Out.Write((first ? "" : ",") + token.ToString(CultureInfo.InvariantCulture));
            else if (options.StopTokens.Contains(token)) return;
            else Console.Out.Write(first ? Begun(decoder.Add(token)) : decoder.Add(token));
            Console.Out.Flush();
            first = false;
        };
    }

    private string? Text(int[] generated, Gpt2Tokenizer? tokenizer) =>
        tokenizer is null ? null : Begun(tokenizer.Decode([.. generated.Where(id => !options.StopTokens.Contains(id))]));

    // A completion begins with the space that the encoders put before it.
    private string Begun(string text) => raw ? text : text.TrimStart();

    private FinishReason Reason(int[] context, int[] generated) => FinishReasons.Of(context.Length, generated, options, model.Config);

    private void SayContext(int[] context)
    {
        string most = $"it reads at most {model.Config.Positions:N0} tokens, of which the prompt has {context.Length:N0}";
        Terminal.Say($"The text ends where the model reads no further: {most}.");
    }
}
