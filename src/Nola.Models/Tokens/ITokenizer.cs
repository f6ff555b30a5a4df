namespace Nola.Models;

/// <summary>
/// How a model reads and writes text. The form of an example, and what ends a text, belong to the tokenizer, since both are tokens
/// of its vocabulary.
/// </summary>
public interface ITokenizer
{
    /// <summary>Number of tokens; every id is below it.</summary>
    int Vocabulary { get; }

    /// <summary>The token that ends a text, and begins those without a context.</summary>
    int EndOfText { get; }

    /// <summary>The tokens that end a generated text when nothing else is asked for.</summary>
    IReadOnlyList<int> StopTokens { get; }

    /// <summary>The token ids of a text, and nothing around them.</summary>
    int[] Encode(string text);

    /// <summary>The text of token ids; bytes that are not UTF-8 become replacement characters.</summary>
    /// <exception cref="Tensors.NolaException">An id is outside the vocabulary.</exception>
    string Decode(ReadOnlySpan<int> ids);

    /// <summary>The UTF-8 bytes of one token, which may be a part of a character.</summary>
    /// <exception cref="Tensors.NolaException">The id is outside the vocabulary.</exception>
    ReadOnlySpan<byte> BytesOf(int id);

    /// <summary>
    /// Builds what encoding needs now instead of at the first text; from any thread, for example while a model is read.
    /// </summary>
    void Prepare() { }

    /// <summary>A context as the model was taught to read it: in the published form (LoRA and NOLA), its tokens and the end of text.</summary>
    int[] EncodeContext(string context) => [.. Encode(context), EndOfText];

    /// <summary>What is learned after a context: in the published form the tokens of a space and the text, and the end of text.</summary>
    int[] EncodeCompletion(string completion) => [.. Encode(" " + completion), EndOfText];

    /// <summary>A text of its own, which is learned whole: its tokens and the end of text.</summary>
    int[] EncodeDocument(string text) => [.. Encode(text), EndOfText];
}
