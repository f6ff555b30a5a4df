using System.Globalization;
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

namespace Nola.Cli;

/// <summary><c>nola generate</c> of one prompt: its text token by token, or several samples with a line for each.</summary>
/// <param name="model">The model.</param>
/// <param name="adapter">What it is read with; null for the base model alone.</param>
/// <param name="options">How to choose; all that is left to be chosen is given.</param>
/// <param name="form">What the prompt is.</param>
/// <param name="json">An object for each text in place of the text.</param>
internal sealed class GeneratePrompt(LanguageModel model, IAdapter? adapter, GenerateOptions options, PromptForm form, bool json)
{
    /// <summary>Continues a text or token ids, whichever is not null.</summary>
    public int Run(string? text, string? ids, CancellationToken cancel)
    {
        ITokenizer? tokenizer = ids is null ? model.Tokenizer : model.FindTokenizer();
        int[] context = ids is not null ? CommonOptions.Ids(ids, "--ids") : Context(text!, tokenizer!);
        if (tokenizer is null && !json) Terminal.Say("The model has no tokenizer, so token ids are printed instead of text.");
        SamplingOptions.SaySeed(options);
        return options.NumSamples > 1 ? Several(context, tokenizer, cancel) : One(context, tokenizer, cancel);
    }

    private int[] Context(string prompt, ITokenizer tokenizer)
    {
        if (form.Chat) return model.Chat.EncodePrompt(form.Asked([new(ChatMessage.User, prompt)]), "The prompt");
        return form.Raw ? tokenizer.EncodePrompt(prompt) : tokenizer.EncodeContext(prompt);
    }

    private int One(int[] context, ITokenizer? tokenizer, CancellationToken cancel)
    {
        TextPieces? pieces = Pieces(context, tokenizer);
        int[] generated = model.Generate(context, adapter, options, json ? null : Printer(pieces), cancel);
        if (!json) Console.Out.WriteLine(pieces?.End());
        cancel.ThrowIfCancellationRequested();
        FinishReason reason = Reason(context, generated);
        string? text = json ? Text(context, generated, tokenizer) : null;
        if (json) Console.Out.WriteLine(GeneratedLine.Json(null, text, generated, reason, options, index: 0));
        if (reason == FinishReason.Context) SayContext(context);
        return 0;
    }

    private int Several(int[] context, ITokenizer? tokenizer, CancellationToken cancel)
    {
        int[][] all = model.GenerateAll([context], adapter, options, null, cancel);
        for (int s = 0; s < all.Length; s++)
        {
            string? text = Text(context, all[s], tokenizer);
            Console.Out.WriteLine(json
                ? GeneratedLine.Json(null, text, all[s], Reason(context, all[s]), options, s)
                : GeneratedText.OneLine(text ?? GeneratedLine.Ids(all[s])));
        }
        if (all.Any(ids => Reason(context, ids) == FinishReason.Context)) SayContext(context);
        return 0;
    }

    // Prints each token as it comes: its text, or its id.
    private static Action<int> Printer(TextPieces? pieces)
    {
        bool first = true;
        return token =>
        {
            Console.Out.Write(pieces?.Add(token) ?? (first ? "" : ",") + token.ToString(CultureInfo.InvariantCulture));
            Console.Out.Flush();
            first = false;
        };
    }

    private string? Text(int[] context, int[] generated, ITokenizer? tokenizer)
    {
        TextPieces? pieces = Pieces(context, tokenizer);
        return pieces is null ? null : string.Concat(generated.Select(pieces.Add)) + pieces.End();
    }

    // A completion begins with the space that the encoders put before it; after a prompt, one before the first word is the text's own.
    private TextPieces? Pieces(int[] context, ITokenizer? tokenizer) => tokenizer is null
        ? null
        : new(tokenizer, options, trims: !form.Raw, begins: context.SequenceEqual(tokenizer.EncodePrompt("")));

    private FinishReason Reason(int[] context, int[] generated) =>
        FinishReasons.Of(context.Length, generated, options, model.Shape.Positions);

    private void SayContext(int[] context)
    {
        string most = $"it reads at most {model.Shape.Positions:N0} tokens, of which the prompt has {context.Length:N0}";
        Terminal.Say($"The text ends at the model's limit: {most}.");
    }
}
