using System.IO.Compression;
using System.Text;
using System.Text.Json;
using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>What every reader of somebody's files stands on: strict text, strict JSON, strict numbers, and messages on one line.</summary>
public sealed class InputTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-input").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Property]
    public bool Lines_are_those_of_the_frameworks_reader(NonEmptyArray<NonNull<string>> parts, int ends)
    {
        string[] marks = ["\n", "\r\n", "\r"];
        string text = string.Concat(parts.Get.Select((part, i) => Whole(part.Get) + marks[Math.Abs((ends + i) % 3)]));
        if (ends % 2 == 0) text = text.TrimEnd('\n', '\r');
        using TextInput mine = TextInput.Of(new MemoryStream(Encoding.UTF8.GetBytes(text)), "x");
        using StringReader theirs = new(text.TrimStart('\uFEFF'));
        while (theirs.ReadLine() is { } line)
            if (mine.ReadLine() != line) return false;
        return mine.ReadLine() is null;
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(70_000)]
    public void Text_is_whole_however_it_is_cut(int seed)
    {
        string text = string.Concat(
            Enumerable.Range(0, 40_000).Select(i => ((i * seed) % 7) switch { 0 => "é", 1 => "😀", 2 => "\r\n", _ => "a" }));
        using TextInput reader = TextInput.Of(new Trickle(Encoding.UTF8.GetBytes(text)), "x");
        Assert.Equal(text, reader.ReadToEnd());
        Assert.Equal(1 + text.Count(c => c == '\n'), reader.Line);
    }

    [Fact]
    public void Text_that_is_not_UTF8_is_refused_with_file_and_line()
    {
        string path = Path.Combine(directory, "latin1.csv");
        File.WriteAllBytes(path, [.. "a,b\nx,y\ncaf"u8, 0xE9, .. ",z\n"u8]);
        using TextInput reader = TextInput.Open(path);
        NolaException error = Assert.Throws<NolaException>(() => reader.ReadToEnd());
        Assert.Equal($"{path}, line 3: not valid UTF-8 (byte E9); save the file as UTF-8.", error.Message);
    }

    [Fact]
    public void A_character_that_is_cut_off_at_the_end_is_refused()
    {
        using TextInput reader = TextInput.Of(new MemoryStream([.. "ab"u8, 0xE2, 0x82]), "x");
        Assert.Contains("x, line 1: not valid UTF-8", Assert.Throws<NolaException>(() => reader.ReadToEnd()).Message);
    }

    [Fact]
    public void Byte_order_marks_choose_the_encoding()
    {
        Encoding[] encodings = [new UTF8Encoding(true), new UnicodeEncoding(false, true), new UnicodeEncoding(true, true)];
        foreach (Encoding encoding in encodings)
        {
            using TextInput reader = TextInput.Of(
                new MemoryStream([.. encoding.GetPreamble(), .. encoding.GetBytes("zwei\nWörter 😀")]), "x");
            Assert.Equal("zwei\nWörter 😀", reader.ReadToEnd());
        }
    }

    [Fact]
    public void A_line_without_end_is_refused_before_memory_is_gone()
    {
        string path = Path.Combine(directory, "zeros.jsonl.gz");
        using (GZipStream zip = new(File.Create(path), CompressionLevel.Fastest))
            for (int i = 0; i < 400; i++) zip.Write(new byte[1 << 20]);
        using TextInput reader = TextInput.Open(path);
        Assert.Contains("line 1: has more than 8 Mi characters", Assert.Throws<NolaException>(() => reader.ReadLine()).Message);
    }

    [Fact]
    public void A_gzip_file_that_unpacks_without_end_is_refused()
    {
        string path = Path.Combine(directory, "lines.txt.gz");
        using (GZipStream zip = new(File.Create(path), CompressionLevel.Optimal))
            for (int i = 0; i < 100; i++) zip.Write(Encoding.UTF8.GetBytes(new string('\n', 1 << 20)));
        using TextInput reader = TextInput.Open(path);
        NolaException error = Assert.Throws<NolaException>(() => { while (reader.ReadLine() is not null) { } });
        Assert.Contains("unpacks to more than 64 times its size", error.Message);
    }

    [Fact]
    public void A_text_that_is_read_whole_may_be_one_long_line()
    {
        string text = new('a', TextInput.LongestLine + 1);
        using TextInput whole = TextInput.Of(new MemoryStream(Encoding.UTF8.GetBytes(text)), "x");
        Assert.Equal(text.Length, whole.ReadToEnd().Length);
        using TextInput line = TextInput.Of(new MemoryStream(Encoding.UTF8.GetBytes(text)), "x");
        Assert.Throws<NolaException>(() => line.ReadLine());
    }

    [Fact]
    public void A_packed_file_can_have_any_name()
    {
        string path = Path.Combine(directory, "table");
        using (GZipStream zip = new(File.Create(path), CompressionLevel.Fastest)) zip.Write("a\nb"u8);
        using TextInput reader = TextInput.Open(path, packed: true);
        Assert.Equal("a\nb", reader.ReadToEnd());
    }

    [Fact]
    public void A_document_that_is_longer_than_can_be_parsed_is_refused()
    {
        using TextInput reader = TextInput.Of(new MemoryStream(Encoding.UTF8.GetBytes(new string('\n', TextInput.LongestWhole + 1))), "x");
        Assert.Contains("x: has more than 64 Mi characters", Assert.Throws<NolaException>(() => reader.ReadToEnd()).Message);
    }

    [Fact]
    public void A_damaged_gzip_file_is_refused()
    {
        string path = Path.Combine(directory, "cut.txt.gz");
        File.WriteAllBytes(path, "this is not a gzip file"u8.ToArray());
        using TextInput reader = TextInput.Open(path);
        Assert.Contains("not a whole gzip file", Assert.Throws<NolaException>(() => reader.ReadLine()).Message);
    }

    [Theory]
    [InlineData("{\"a\": \"\\ud83d\"}", "half of a character")]
    [InlineData("{\"\\udc00\": 1}", "half of a character")]
    [InlineData("[[\"x\", {\"k\": [\"\\ud83d\\ud83d\"]}]]", "half of a character")]
    [InlineData("{\"a\": 1, \"a\": 2}", "not valid JSON (the key 'a' is there twice).")]
    [InlineData("{\"a\": 1, \"\\u0061\": 2}", "not valid JSON (the key 'a' is there twice).")]
    [InlineData("{\n\"a\": x}", "line 2, byte 6")]
    [InlineData("{\"a\": x}", "start of a value, byte 7")]
    [InlineData("", "not valid JSON")]
    public void Json_that_would_fail_later_is_refused_at_once(string json, string reason)
    {
        NolaException error = Assert.Throws<NolaException>(() => JsonInput.Parse(json, "file.json"));
        Assert.StartsWith("file.json: ", error.Message);
        Assert.Contains(reason, error.Message);
    }

    [Fact]
    public void Json_with_invalid_bytes_is_refused_and_a_byte_order_mark_is_not()
    {
        Assert.Contains(
            "not valid UTF-8", Assert.Throws<NolaException>(() => JsonInput.Parse(new byte[] { (byte)'"', 0xC3, (byte)'"' }, "x")).Message);
        using JsonDocument document = JsonInput.Parse((byte[])[0xEF, 0xBB, 0xBF, .. "{\"\\ud83d\\ude00\": 1}"u8], "x");
        Assert.Equal(1, document.RootElement.GetProperty("😀").GetInt32());
    }

    [Theory]
    [InlineData("0.8", 0.8)]
    [InlineData("-1e-3", -0.001)]
    [InlineData("+2", 2.0)]
    [InlineData(".5", 0.5)]
    [InlineData("0,8", null)]
    [InlineData("1,600", null)]
    [InlineData(" 1", null)]
    [InlineData("1 ", null)]
    [InlineData("NaN", null)]
    [InlineData("Infinity", null)]
    [InlineData("1e999", null)]
    [InlineData("0x10", null)]
    [InlineData("٣", null)]
    [InlineData("", null)]
    public void Numbers_are_read_strictly(string text, double? expected)
    {
        Assert.Equal(expected.HasValue, StrictNumber.TryReal(text, out double value));
        if (expected.HasValue) Assert.Equal(expected.Value, value);
        if (!expected.HasValue) Assert.False(StrictNumber.TryReal(text, out float _));
    }

    [Fact]
    public void Whole_numbers_are_read_strictly()
    {
        Assert.True(StrictNumber.TryWhole("-12", out int value) && value == -12);
        Assert.True(StrictNumber.TryWhole("18446744073709551615", out ulong most) && most == ulong.MaxValue);
        foreach (string text in (string[])["1,000", "1.0", " 1", "1e3", "", "９", "2147483648"])
            Assert.False(StrictNumber.TryWhole(text, out int _), text);
        Assert.False(StrictNumber.TryWhole("-1", out ulong _));
    }

    [Property]
    public bool A_message_is_one_short_line_whatever_is_in_it(NonNull<string> start, NonNull<string> middle, PositiveInt times)
    {
        string message = new NolaException(
            start.Get + "\0\n" + string.Concat(Enumerable.Repeat(middle.Get + "\u202E", times.Get % 200))).Message;
        return message.Length <= NolaException.LongestMessage && !message.Any(char.IsControl)
            && message.Equals(Whole(message), StringComparison.Ordinal);
    }

    [Fact]
    public void A_long_message_keeps_its_beginning_and_its_next_step()
    {
        string message = new NolaException("begin " + new string('x', 5000) + " do this next.").Message;
        Assert.Equal(NolaException.LongestMessage, message.Length);
        Assert.StartsWith("begin x", message);
        Assert.EndsWith("x do this next.", message);
        Assert.Equal("'a\\nb\\u0000c'", Quoted.Of("a\nb\0c"));
    }

    [Fact]
    public void Links_are_followed_to_lengths_and_named_when_they_lead_nowhere()
    {
        string file = Path.Combine(directory, "blob"), link = Path.Combine(directory, "link");
        string dangling = Path.Combine(directory, "dangling");
        File.WriteAllBytes(file, new byte[1234]);
        File.CreateSymbolicLink(link, "blob");
        File.CreateSymbolicLink(dangling, "nothing");
        Assert.Equal(1234, InputFile.Length(link));
        Assert.Equal(1234, InputFile.ReadAll(link).Length);
        Assert.Equal(
            $"{dangling}: is a link to nothing, which is not there; download the file again.",
            Assert.Throws<NolaException>(() => InputFile.Length(dangling)).Message);
        Assert.Equal(
            $"{directory}: is a directory; expected a file.", Assert.Throws<NolaException>(() => InputFile.ReadAll(directory)).Message);
        Assert.Contains("far more than a file of its kind", Assert.Throws<NolaException>(() => InputFile.ReadAll(file, 1000)).Message);
    }

    [Fact]
    public void A_configuration_of_many_megabytes_is_refused_before_it_is_parsed()
    {
        string file = Path.Combine(directory, "config.json");
        using (FileStream stream = File.Create(file))
        {
            stream.Write("[\""u8);
            stream.SetLength(JsonInput.LargestConfig + 1);
        }
        long before = GC.GetAllocatedBytesForCurrentThread();
        string message = Assert.Throws<NolaException>(() => JsonInput.Read(file)).Message;
        Assert.Equal($"{file}: has more than 16 MiB, far more than a file of its kind; is it the right one?", message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    // FsCheck's strings have halves of characters, which UTF-8 cannot hold.
    private static string Whole(string text) => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));

    /// <summary>A stream that gives one to five bytes at a time.</summary>
    private sealed class Trickle(byte[] bytes) : MemoryStream(bytes)
    {
        private int calls;

        // Of a class that is derived from it, MemoryStream reads spans through this too.
        public override int Read(byte[] buffer, int offset, int count) => base.Read(buffer, offset, Math.Min(count, 1 + calls++ % 5));
    }
}
