using System.Text;
using Nola.Models;

namespace Nola.Serve;

/// <summary>How single tokens are written in lists of log-probabilities.</summary>
internal sealed class TokenTexts(ITokenizer tokenizer)
{
    private static readonly UTF8Encoding strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>A text; for a part of a character its bytes, as OpenAI writes them: <c>bytes:\xe2\x80</c>.</summary>
    public string Of(int id)
    {
        if (id >= tokenizer.Vocabulary) return Numbered(id);
        ReadOnlySpan<byte> bytes = tokenizer.BytesOf(id);
        try
        {
            return strict.GetString(bytes);
        }
        catch (DecoderFallbackException)
        {
            return "bytes:" + string.Concat(bytes.ToArray().Select(value => $"\\x{value:x2}"));
        }
    }

    /// <summary>The bytes of a token.</summary>
    public IReadOnlyList<int> Bytes(int id) =>
        id >= tokenizer.Vocabulary ? [] : [.. tokenizer.BytesOf(id).ToArray().Select(value => (int)value)];

    /// <summary>
    /// Log-probabilities by the texts of their tokens, the chosen one among them with the number that was given for it. Of two tokens that
    /// are written alike, the other one is written as its number.
    /// </summary>
    public IReadOnlyDictionary<string, double> Top(GeneratedToken token)
    {
        Dictionary<string, double> top = [];
        foreach (TokenLogProbability likely in token.TopLogProbabilities)
        {
            if (likely.Id == token.Id) Add(token.Id, token.LogProbability ?? likely.LogProbability);
            else Add(likely.Id, likely.LogProbability);
        }
        if (token.TopLogProbabilities.All(likely => likely.Id != token.Id)) top[Of(token.Id)] = Finite(token.LogProbability ?? 0);
        return top;

        void Add(int id, double value)
        {
            string text = Of(id);
            bool taken = top.ContainsKey(text) || (id != token.Id && text == Of(token.Id));
            top[taken ? Numbered(id) : text] = Finite(value);
        }
    }

    /// <summary>A logarithm as JSON can have it: what is impossible is −9999, as OpenAI has it.</summary>
    public static double Finite(double logProbability) => Math.Max(logProbability, -9999);

    private static string Numbered(int id) => $"token_id:{id}";
}
