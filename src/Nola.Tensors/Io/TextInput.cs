using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace Nola.Tensors;

/// <summary>
/// A reader of text that never guesses: UTF-8 (or UTF-16 with its byte order mark), and what is neither is refused with file and
/// line in place of becoming U+FFFD. Lines end with <c>\n</c>, <c>\r\n</c> or <c>\r</c>, and have a greatest length; a gzip file may not
/// unpack to far more than text ever does. So no input, however made, takes memory without end.
/// </summary>
internal sealed class TextInput : TextReader
{
    /// <summary>The longest line, in characters.</summary>
    public const int LongestLine = 1 << 23;

    /// <summary>
    /// The longest text that is read in one piece, in characters:
    /// a document that is parsed takes several times its size.
    /// </summary>
    public const int LongestWhole = 1 << 26;

    // Text shrinks to a third or a tenth; a file of one repeated byte to a thousandth.
    private const int LargestRatio = 64, RatioFrom = 3 << 22;

    private readonly Stream stream;
    private readonly Stream? packed;
    private readonly string place;
    private readonly byte[] bytes = new byte[1 << 16];
    private readonly char[] chars = new char[(1 << 16) + 16];
    private Decoder? decoder;
    private int at, end;
    private long unpacked;
    private bool ended, afterReturn;
    // Of the line that characters are leaving from.
    private int lineLength;

    private TextInput(Stream stream, Stream? packed, string place) => (this.stream, this.packed, this.place) = (stream, packed, place);

    /// <summary>The line that the next character is on, counted from 1.</summary>
    public int Line { get; private set; } = 1;

    /// <summary>Opens a text file, unpacking it when it is called <c>.gz</c>.</summary>
    /// <param name="path">The file.</param>
    /// <param name="packed">Whether it is to be unpacked, where that is known otherwise than from its name.</param>
    /// <exception cref="NolaException">It is missing or may not be read.</exception>
    public static TextInput Open(string path, bool? packed = null)
    {
        FileStream file = InputFile.Open(path);
        bool gzip = packed ?? path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase);
        return new TextInput(gzip ? new GZipStream(file, CompressionMode.Decompress) : file, gzip ? file : null, path);
    }

    /// <summary>Reads text from a stream, which is disposed with this.</summary>
    /// <param name="stream">The bytes.</param>
    /// <param name="place">What to call them in messages.</param>
    public static TextInput Of(Stream stream, string place) => new(stream, null, place);

    /// <inheritdoc/>
    public override int Peek() => at < end || Fill() ? chars[at] : -1;

    /// <inheritdoc/>
    public override int Read()
    {
        if (Peek() < 0) return -1;
        Count(chars.AsSpan(at, 1));
        return chars[at++];
    }

    /// <inheritdoc/>
    public override int Read(Span<char> buffer)
    {
        if (buffer.IsEmpty || Peek() < 0) return 0;
        int length = Math.Min(buffer.Length, end - at);
        Span<char> part = chars.AsSpan(at, length);
        Count(part);
        part.CopyTo(buffer);
        at += length;
        return length;
    }

    /// <inheritdoc/>
    public override int Read(char[] buffer, int index, int count) => Read(buffer.AsSpan(index, count));

    /// <inheritdoc/>
    public override string? ReadLine()
    {
        // The \n of a \r\n whose \r ended the line before.
        if (afterReturn && Peek() == '\n') Read();
        if (Peek() < 0) return null;
        StringBuilder? pieces = null;
        while (true)
        {
            Span<char> rest = chars.AsSpan(at, end - at);
            int stop = rest.IndexOfAny('\n', '\r');
            Span<char> part = stop < 0 ? rest : rest[..stop];
            Extend(part.Length, LongestLine);
            at += part.Length;
            if (stop >= 0)
            {
                EndLine(chars[at++]);
                return pieces is null ? new string(part) : pieces.Append(part).ToString();
            }
            (pieces ??= new StringBuilder()).Append(part);
            if (!Fill()) return pieces.ToString();
        }
    }

    /// <summary>The rest of the text. What is read whole may stand on one line, as JSON often does; the whole is limited instead.</summary>
    public override string ReadToEnd()
    {
        StringBuilder text = new();
        while (Peek() >= 0)
        {
            Span<char> rest = chars.AsSpan(at, end - at);
            Count(rest, longest: int.MaxValue);
            text.Append(rest);
            at = end;
            if (text.Length > LongestWhole)
            {
                throw new NolaException(
                    $"{place}: has more than {LongestWhole >> 20} Mi characters; split the file, or use a format with one example a line.");
            }
        }
        return text.ToString();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) stream.Dispose();
        base.Dispose(disposing);
    }

    // Follows the lines through characters that are about to leave.
    private void Count(ReadOnlySpan<char> part, int longest = LongestLine)
    {
        while (!part.IsEmpty)
        {
            int stop = part.IndexOfAny('\n', '\r');
            Extend(stop < 0 ? part.Length : stop, longest);
            if (stop < 0) return;
            EndLine(part[stop]);
            part = part[(stop + 1)..];
        }
    }

    private void Extend(int length, int longest)
    {
        if (length > 0) afterReturn = false;
        lineLength += length;
        if (lineLength > longest)
            throw new NolaException(
                $"{place}, line {Line}: has more than {LongestLine >> 20} Mi characters in one line; is this a text file?");
    }

    private void EndLine(char end)
    {
        // The \n of \r\n ends no other line.
        if (end != '\n' || !afterReturn) Line++;
        afterReturn = end == '\r';
        lineLength = 0;
    }

    // Decodes the next bytes; false at the end of the text.
    private bool Fill()
    {
        (at, end) = (0, 0);
        while (end == 0 && !ended)
        {
            int read = ReadBytes();
            ended = read == 0;
            ReadOnlySpan<byte> from = bytes.AsSpan(0, read);
            if (decoder is null)
            {
                (decoder, int mark) = Begin(from);
                from = from[mark..];
            }
            end = Decode(from);
        }
        return end > 0;
    }

    private int ReadBytes()
    {
        try
        {
            // At least three bytes at the start, so that a byte order mark is seen whole.
            int read = decoder is null ? stream.ReadAtLeast(bytes, 3, throwOnEndOfStream: false) : stream.Read(bytes);
            unpacked += read;
            if (packed is { CanSeek: true } && unpacked > RatioFrom && unpacked / LargestRatio > packed.Position)
                throw new NolaException(
                    $"{place}: unpacks to more than {LargestRatio} times its size, which text does not; is it a text file?");
            return read;
        }
        catch (InvalidDataException error)
        {
            throw new NolaException($"{place}: not a gzip file, or not a whole gzip file ({error.Message.TrimEnd('.')}).", error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw InputFile.Unreadable(place, error);
        }
    }

    // The decoder that the byte order mark asks for, and the mark's length.
    private static (Decoder, int) Begin(ReadOnlySpan<byte> from)
    {
        if (from is [0xFF, 0xFE, ..]) return (new UnicodeEncoding(bigEndian: false, false, throwOnInvalidBytes: true).GetDecoder(), 2);
        if (from is [0xFE, 0xFF, ..]) return (new UnicodeEncoding(bigEndian: true, false, throwOnInvalidBytes: true).GetDecoder(), 2);
        return (new UTF8Encoding(false, throwOnInvalidBytes: true).GetDecoder(), from is [0xEF, 0xBB, 0xBF, ..] ? 3 : 0);
    }

    private int Decode(ReadOnlySpan<byte> from)
    {
        try
        {
            return decoder!.GetChars(from, chars, flush: ended);
        }
        catch (DecoderFallbackException error)
        {
            ReadOnlySpan<byte> before = from[..Math.Clamp(error.Index, 0, from.Length)];
            int line = Line + before.Count((byte)'\n');
            string wrong = string.Join(' ', (error.BytesUnknown ?? []).Select(b => b.ToString("X2", CultureInfo.InvariantCulture)));
            throw new NolaException($"{place}, line {line}: not valid UTF-8 (byte {wrong}); save the file as UTF-8.", error);
        }
    }
}
