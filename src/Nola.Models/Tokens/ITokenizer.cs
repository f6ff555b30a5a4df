namespace Nola.Models;

/// <summary>
/// How a model reads and writes text. The form of an example, and what begins and ends a text, belong to the tokenizer, since they are
/// tokens of its vocabulary. What the default members say is the form of GPT-2 as LoRA and NOLA taught it.
/// </summary>
public interface ITokenizer
{
    /// <summary>Number of tokens; every id is below it.</summary>
    int Vocabulary { get; }

    /// <summary>The token that ends a text, and begins those without a context where no other token begins texts.</summary>
    int EndOfText { get; }

    /// <summary>The tokens that end a generated text when nothing else is asked for.</summary>
    IReadOnlyList<int> StopTokens { get; }

    /// <summary>
    /// The most spaces at the beginning of a text that are no part of it: one, or all, where an encoder puts one before every text,
    /// as SentencePiece does.
    /// </summary>
    int LeadingSpaces => 0;

    /// <summary>
    /// Whether a text may be encoded paragraph by paragraph, each up to the next line that is not empty, without a change: so for
    /// GPT-2, whose words never join across a line break.
    /// </summary>
    bool CutsAtParagraphs => true;

    /// <summary>
    /// The token ids of a text, and nothing around them. Text that spells a control token, such as <c>&lt;/s&gt;</c>, stays text.
    /// </summary>
    int[] Encode(string text);

    /// <summary>The same, where text that spells a control token is that token.</summary>
    int[] EncodeMarkup(string text) => Encode(text);

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

    /// <summary>A text that is continued as it stands: what begins a text, and its tokens; never empty.</summary>
    int[] EncodePrompt(string text) => text.Length == 0 ? [EndOfText] : EncodeMarkup(text);

    /// <summary>
    /// A context as the model was taught to read it: in the published form (LoRA and NOLA), its tokens and the end of text.
    /// </summary>
    int[] EncodeContext(string context) => [.. Encode(context), EndOfText];

    /// <summary>What is learned after a context: in the published form the tokens of a space and the text, and the end of text.</summary>
    int[] EncodeCompletion(string completion) => [.. Encode(" " + completion), EndOfText];

    /// <summary>A text of its own, which is learned whole: its tokens and the end of text.</summary>
    int[] EncodeDocument(string text) => [.. Encode(text), EndOfText];
}
