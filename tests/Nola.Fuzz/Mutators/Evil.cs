namespace Nola.Fuzz;

/// <summary>Values that have broken readers before: numbers at the edges of types, halves of characters, names of everything.</summary>
internal static class Evil
{
    /// <summary>Numbers as text, well formed and not.</summary>
    public static readonly string[] Numbers =
    [
        "0", "-0", "1", "-1", "2", "3", "7", "8", "16", "64", "100", "255",
        "256", "1000", "1000000", "100000000", "2147483647", "2147483648",
        "-2147483648", "-2147483649", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
        "18446744073709551615", "18446744073709551616", "99999999999999999999999999",
        "0.5", "1e-400", "1e400", "-1e400", "3.5e38", "1e5", "1E+2",
        "NaN", "nan", "Infinity", "-Infinity", "∞", "0x10", "1_000", "1,5", "1,000",
        "1.5.2", "+1", " 8", "8 ", "٣", "１", "1e", ".5", "5.", "--1", "00012",
    ];

    /// <summary>Words that mean something somewhere.</summary>
    public static readonly string[] Words =
    [
        "", " ", "null", "true", "false", "nola", "lora", "full", "base",
        "LORA", "shared", "per-layer", "pre-layer", "sign", "normal", "uniform",
        "paper", "offset", "linear", "cosine", "float32", "bfloat16", "F32",
        "F16", "BF16", "U8", "I64", "q", "v", "q,v", "*", "h.0.*", "h.99.*",
        "h.99999999999.attn.c_attn", "c_attn", "attn.c_proj", "mlp.c_proj",
        "[", "(", ".*", "../x", "/", "\\", ".", "..", "con", "a/b", "~", "$(x)",
        "step", "eval", "loss", "context", "completion", "e2e", "e2e:test",
        "gpt2", "nola-adapter/1", "nola-adapter/2", "nola-train-state/1",
        "<|endoftext|>", "||", "a || b || c", " | ", "a | b", "]]>", "<!--",
        "&amp;", "&#0;", "\u0000", "\u0001", "\u001b[31m", "\u2028", "\u202e",
        "\ufeff", "\uffff", "é", "e\u0301", "😀", "日本語", "١٢٣", "İ", "ß", "\t", "\n", "\r\n", "\r",
    ];

    /// <summary>Raw JSON values.</summary>
    public static readonly string[] Json =
    [
        "null", "true", "false", "[]", "{}", "[[]]", "[null]", "[1,2,3]",
        "[\"a\"]", "{\"a\":1}", "[-1]", "[2147483648]", "[1e400]", "\"\"", "\" \"",
        "\"\\u0000\"", "\"\\ud83d\"", "\"\\udc00x\"", "\"\\ud83d\\ude00\"",
        "\"a\\ud800\\ud800b\"", "\"\\n\"", "\"\\\"\"", "\"\\x\"", "\"unclosed", "'a'", "undefined",
        "NaN", "-Infinity", "01", "1.", "-", "+1", "\"NaN\"", "\"Infinity\"", "\"1\"",
        "\"-1\"", "\"1e400\"", "\"true\"", "\"null\"", "[[1,2],[3]]", "[\"a\",1,null]",
    ];

    /// <summary>Bytes that are no UTF-8, or begin like another encoding.</summary>
    public static readonly byte[][] Bytes =
    [
        [0x00], [0x80], [0xC0, 0x80], [0xC3], [0xE2, 0x82], [0xED, 0xA0, 0xBD],
        [0xF0, 0x9F], [0xF4, 0x90, 0x80, 0x80], [0xFE], [0xFF], [0xE9], [0xFC],
        [0xEF, 0xBB, 0xBF], [0xFF, 0xFE], [0xFE, 0xFF], [0x0D], [0x0A], [0x0D, 0x0A],
        [0x22], [0x2C], [0x3B], [0x09], [0x7C, 0x7C], [0x1A], [0x1F, 0x8B, 0x08],
    ];

    /// <summary>A number, a word, a long text, or the value itself changed a little.</summary>
    public static string Text(Dice dice, string was) => dice.Next(8) switch
    {
        0 or 1 or 2 => dice.Pick(Numbers),
        3 or 4 => dice.Pick(Words),
        5 when was.Length > 0 => Changed(dice, was),
        6 => Long(dice),
        _ => was + dice.Pick(Words),
    };

    /// <summary>One character repeated; rarely very often.</summary>
    public static string Long(Dice dice)
    {
        char character = "aé 0,[(\"<\\|"[dice.Next(11)];
        return new(character, dice.Once(10) ? 50_000 + dice.Next(50_000) : dice.Length(2000));
    }

    private static string Changed(Dice dice, string was)
    {
        int at = dice.Next(was.Length);
        return dice.Next(4) switch
        {
            0 => was.Remove(at, 1),
            1 => was.Insert(at, was[at].ToString()),
            2 => was.Insert(at, dice.Pick(Words)),
            _ => was[..at] + (char)(was[at] ^ (1 << dice.Next(7))) + was[(at + 1)..],
        };
    }
}
