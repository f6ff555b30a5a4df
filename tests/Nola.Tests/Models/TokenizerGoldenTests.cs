using System.IO.Compression;
using System.Text.Json;
using Nola.Models;
using Xunit;

namespace Nola.Tests;

/// <summary>
/// Tokenizers against the programs that they come from (data/golden/tokenizers): SentencePiece, and Hugging Face's tokenizers. Two small
/// ones stand in the repository; with NOLA_TEST_DATA naming a directory, those in its tokenizers are run too.
/// </summary>
public sealed class TokenizerGoldenTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public static TheoryData<string> Cases
    {
        get
        {
            string here = Path.Combine(AppContext.BaseDirectory, "data", "golden");
            string?[] roots = [here, Environment.GetEnvironmentVariable("NOLA_TEST_DATA")];
            return
            [
                .. roots.Where(root => root is { Length: > 0 }).Select(root => Path.Combine(root!, "tokenizers"))
                    .Where(Directory.Exists).SelectMany(Directory.GetDirectories).Where(place => FileOf(place) is not null),
            ];
        }
    }

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Every_recorded_string_has_its_ids_and_comes_back(string place)
    {
        ModelTokenizer tokenizer = Read(place, out bool json);
        int count = 0;
        List<string> wrong = [];
        foreach (JsonElement row in Strings(place))
        {
            string text = row.GetProperty("text").GetString()!, decoded = row.GetProperty("decoded").GetString()!;
            int[] ids = TinyModels.Ids(row.GetProperty("ids"));
            // SentencePiece takes what spells a control token for text.
            int[] found = json ? tokenizer.EncodeMarkup(text) : tokenizer.Encode(text);
            if (!ids.SequenceEqual(found)) wrong.Add($"{text}: {string.Join(',', ids)} but {string.Join(',', found)}");
            if (decoded != tokenizer.Decode(ids)) wrong.Add($"{decoded} but {tokenizer.Decode(ids)}");
            if (row.TryGetProperty("ids_without_added_tokens", out JsonElement plain))
                Assert.Equal(TinyModels.Ids(plain), tokenizer.Encode(text, FoundTokens.None));
            count++;
        }
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
        Assert.True(count > 200);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Streaming_gives_the_same_text_and_never_half_a_character(string place)
    {
        ModelTokenizer tokenizer = Read(place, out _);
        foreach (JsonElement row in Strings(place))
        {
            IncrementalDecoder decoder = new(tokenizer, begins: true);
            string[] pieces = [.. TinyModels.Ids(row.GetProperty("ids")).Select(decoder.Add)];
            Assert.Equal(row.GetProperty("decoded").GetString(), string.Concat(pieces));
            Assert.All(pieces, piece => Assert.False(piece.Contains('\uFFFD') && !row.GetProperty("text").GetString()!.Contains('\uFFFD')));
        }
    }

    private static string? FileOf(string place)
    {
        // One stands beside its model.
        string[] elsewhere = Path.GetFileName(place) == "stories260k-tok512" ? ["../../stories260K/tokenizer.model"] : [];
        string[] names = ["tokenizer.json.gz", "tokenizer.json", "tokenizer.model", .. elsewhere];
        return names.Select(name => Path.GetFullPath(Path.Combine(place, name))).FirstOrDefault(File.Exists);
    }

    private static JsonElement.ArrayEnumerator Strings(string place)
    {
        string path = Path.Combine(place, "ids.json");
        byte[] text = File.Exists(path) ? File.ReadAllBytes(path) : Unpacked(path + ".gz");
        return JsonDocument.Parse(text).RootElement.GetProperty("strings").EnumerateArray();
    }

    // Alone in a directory, beside a model of more tokens than it has.
    private ModelTokenizer Read(string place, out bool json)
    {
        string file = FileOf(place)!, name = Path.GetFileName(file);
        json = name.Contains("json");
        File.WriteAllBytes(
            Path.Combine(directory, name.Replace(".gz", "")), name.EndsWith(".gz") ? Unpacked(file) : File.ReadAllBytes(file));
        return Assert.IsType<ModelTokenizer>(TokenizerFiles.Find(directory, new(200_000, AreGpt2: false, null, [])));
    }

    private static byte[] Unpacked(string path)
    {
        using GZipStream packed = new(File.OpenRead(path), CompressionMode.Decompress);
        using MemoryStream whole = new();
        packed.CopyTo(whole);
        return whole.ToArray();
    }
}
