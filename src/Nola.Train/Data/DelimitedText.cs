using System.Buffers;
using System.Text;
using Nola.Tensors;

namespace Nola.Train;

/// <summary>
/// Records of fields between delimiters, quoted as in RFC 4180: a field that begins with a quote ends with one, and has each quote
/// inside it twice. Blank lines are skipped. Between tabs a quote within a field is text, as most programs write it there.
/// </summary>
/// <param name="reader">The text.</param>
/// <param name="place">Its name, for messages.</param>
internal sealed class DelimitedText(TextReader reader, string place)
{
    private readonly char[] buffer = new char[1 << 16];
    private readonly StringBuilder pieces = new();
    private char delimiter = ',';
    private SearchValues<char> ends = SearchValues.Create(",\"\r\n");
    private int at, end, line = 1;

    /// <summary>What stands between fields; a comma until it is set.</summary>
    public char Delimiter
    {
        get => delimiter;
        set
        {
            delimiter = value;
            ends = SearchValues.Create(value == '\t' ? "\t\r\n" : $"{value}\"\r\n");
        }
    }

    /// <summary>The line on which the record that was read last begins, counted from 1.</summary>
    public int Line { get; private set; }

    /// <summary>The first line that is not blank, of which nothing is taken; cut where it is longer than a header can be.</summary>
    public string FirstLine()
    {
        while (true)
        {
            ReadOnlySpan<char> start = buffer.AsSpan(0, end).TrimStart("\r\n");
            int length = start.IndexOfAny('\r', '\n');
            if (length >= 0) return new string(start[..length]);
            int read = end == buffer.Length ? 0 : reader.Read(buffer, end, buffer.Length - end);
            if (read == 0) return new string(start);
            end += read;
        }
    }

    /// <summary>Reads the fields of the next record; false at the end of the text.</summary>
    /// <exception cref="NolaException">The quotes do not fit, or the record is longer than any line.</exception>
    public bool Read(List<string> fields)
    {
        fields.Clear();
        while (Peek() is '\r' or '\n') EndLine();
        if (Peek() < 0) return false;
        Line = line;
        do fields.Add(Peek() == '"' ? Quoted(fields.Count + 1) : Plain()); while (Take(delimiter));
        EndLine();
        return true;
    }

    private string Plain()
    {
        Copy(ends);
        if (Peek() == '"' && delimiter != '\t') throw Misquoted(line, "");
        return Taken();
    }

    private string Quoted(int number)
    {
        int opened = line;
        Take('"');
        do
        {
            CopyQuoted(opened, number);
            if (!Take('"'))
                throw new NolaException($"{place}, line {opened}: the quote that opens field {number} is never closed; "
                    + "write a quote inside a field twice.");
            if (Peek() == '"') pieces.Append('"');
        } while (Take('"'));
        int next = Peek();
        if (next >= 0 && next != delimiter && next is not ('\r' or '\n'))
            throw Misquoted(opened, line == opened ? "" : $" (the one that opens field {number} here closes on line {line})");
        return Taken();
    }

    private NolaException Misquoted(int where, string how) =>
        new($"{place}, line {where}: the quotes of a field do not fit{how}; write a quote inside a field twice.");

    private void CopyQuoted(int opened, int number)
    {
        while (Peek() is >= 0 and not '"')
        {
            ReadOnlySpan<char> rest = buffer.AsSpan(at, end - at);
            int stop = rest.IndexOfAny('"', '\r', '\n');
            Append(stop < 0 ? rest : rest[..stop], opened, number);
            if (stop < 0 || rest[stop] == '"') continue;
            bool pair = rest[stop] == '\r';
            pieces.Append(buffer[at++]);
            if (pair && Peek() == '\n') pieces.Append(buffer[at++]);
            line++;
        }
    }

    private void Copy(SearchValues<char> stops)
    {
        while (Peek() >= 0)
        {
            ReadOnlySpan<char> rest = buffer.AsSpan(at, end - at);
            int stop = rest.IndexOfAny(stops);
            Append(stop < 0 ? rest : rest[..stop], line, 1);
            if (stop >= 0) return;
        }
    }

    private void Append(ReadOnlySpan<char> part, int opened, int number)
    {
        if (pieces.Length + part.Length > TextInput.LongestLine)
            throw new NolaException($"{place}, line {opened}: field {number} begins here and has more than "
                + $"{TextInput.LongestLine >> 20} Mi characters; is its quote closed?");
        pieces.Append(part);
        at += part.Length;
    }

    private string Taken()
    {
        string field = pieces.ToString();
        pieces.Clear();
        return field;
    }

    private bool Take(char wanted)
    {
        if (Peek() != wanted) return false;
        at++;
        return true;
    }

    // \n, \r\n or \r; nothing at the end of the text.
    private void EndLine()
    {
        bool pair = Take('\r'), ended = Take('\n') || pair;
        if (ended) line++;
    }

    private int Peek()
    {
        if (at < end) return buffer[at];
        (at, end) = (0, reader.Read(buffer, 0, buffer.Length));
        return end > 0 ? buffer[0] : -1;
    }
}
