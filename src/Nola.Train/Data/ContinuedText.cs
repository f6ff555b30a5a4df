namespace Nola.Train;

/// <summary>A text whose first lines were looked at already: they come once more, and then the rest.</summary>
/// <param name="start">Whole lines, each with its end.</param>
/// <param name="rest">What comes after them.</param>
internal sealed class ContinuedText(string start, TextReader rest) : TextReader
{
    private readonly StringReader first = new(start);

    /// <inheritdoc/>
    public override int Peek() => first.Peek() is >= 0 and int next ? next : rest.Peek();

    /// <inheritdoc/>
    public override int Read() => first.Read() is >= 0 and int next ? next : rest.Read();

    /// <inheritdoc/>
    public override int Read(char[] buffer, int index, int count) => Read(buffer.AsSpan(index, count));

    /// <inheritdoc/>
    public override int Read(Span<char> buffer) => first.Read(buffer) is > 0 and int read ? read : rest.Read(buffer);

    /// <inheritdoc/>
    public override string? ReadLine() => first.ReadLine() ?? rest.ReadLine();

    /// <inheritdoc/>
    public override string ReadToEnd() => first.ReadToEnd() + rest.ReadToEnd();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) rest.Dispose();
        base.Dispose(disposing);
    }
}
