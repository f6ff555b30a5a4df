using System.Buffers.Binary;
using System.Text;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>What a piece of a SentencePiece model is.</summary>
internal enum PieceKind
{
    /// <summary>Text that merges make.</summary>
    Normal = 1,

    /// <summary>What has no other piece.</summary>
    Unknown = 2,

    /// <summary>No text: the beginning or the end of one.</summary>
    Control = 3,

    /// <summary>Text that is found before anything merges.</summary>
    UserDefined = 4,

    /// <summary>None that a text is encoded with.</summary>
    Unused = 5,

    /// <summary>A byte of a character that has no piece.</summary>
    Byte = 6,
}

/// <summary>A piece of the vocabulary; its id is its place.</summary>
/// <param name="Text">Its text, with ▁ for spaces.</param>
/// <param name="Score">Of two pairs the one whose piece has the higher score merges first.</param>
/// <param name="Kind">What it is.</param>
internal readonly record struct TokenPiece(string Text, float Score, PieceKind Kind);

/// <summary>
/// A <c>tokenizer.model</c> as SentencePiece writes it: a protocol buffer (sentencepiece_model.proto) with the pieces and how texts
/// are normalized.
/// </summary>
internal sealed class SentencePieceFile
{
    private const int BytePair = 2;

    private static readonly string[] algorithms = ["none", "Unigram", "BPE", "words", "characters"];

    private readonly string path;
    private int algorithm = 1;

    private SentencePieceFile(string path) => this.path = path;

    /// <summary>The vocabulary.</summary>
    public List<TokenPiece> Pieces { get; } = [];

    /// <summary>Whether characters without a piece become bytes.</summary>
    public bool FallsBackOnBytes { get; private set; }

    /// <summary>The id of what has no other piece.</summary>
    public int Unknown { get; private set; }

    /// <summary>The id that begins a text; −1 for none.</summary>
    public int Begin { get; private set; } = 1;

    /// <summary>The id that ends a text; −1 for none.</summary>
    public int End { get; private set; } = 2;

    /// <summary>What an unknown piece is decoded to.</summary>
    public string UnknownText { get; private set; } = " \u2047 ";

    /// <summary>Whether the space that is added stands behind the text.</summary>
    public bool MarksBehind { get; private set; }

    /// <summary>Whether a space is put before every text.</summary>
    public bool AddsSpace { get; private set; } = true;

    /// <summary>Whether leading, trailing and repeated spaces are taken away.</summary>
    public bool RemovesSpaces { get; private set; } = true;

    /// <summary>Whether spaces become ▁.</summary>
    public bool EscapesSpaces { get; private set; } = true;

    /// <summary>What characters become, as a double array; empty for nothing.</summary>
    public byte[] Characters { get; private set; } = [];

    /// <summary>Reads a file.</summary>
    /// <exception cref="NolaException">It is something else, is cut off, or is of an algorithm that is not byte-pair encoding.</exception>
    public static SentencePieceFile Read(string path)
    {
        SentencePieceFile file = new(path);
        file.Fields(InputFile.ReadAll(path), file.Add);
        if (file.Pieces.Count == 0) throw file.Damaged("there is no piece in it");
        if (file.algorithm == BytePair) return file;
        string name = (uint)file.algorithm < (uint)algorithms.Length ? algorithms[file.algorithm] : $"number {file.algorithm}";
        throw new NolaException(
            $"{path}: is a SentencePiece model of the algorithm {name}; supported is BPE, which models of the LLaMA family have.");
    }

    private delegate void Field(int number, ulong value, ReadOnlyMemory<byte> bytes);

    private void Add(int number, ulong value, ReadOnlyMemory<byte> bytes)
    {
        if (number == 1) Pieces.Add(ReadPiece(bytes));
        else if (number == 2) Fields(bytes, AddTraining);
        else if (number == 3) Fields(bytes, AddNormalization);
    }

    private TokenPiece ReadPiece(ReadOnlyMemory<byte> bytes)
    {
        (string text, float score, PieceKind kind) = ("", 0, PieceKind.Normal);
        Fields(bytes, (number, value, content) =>
        {
            if (number == 1) text = Text(content);
            else if (number == 2) score = BitConverter.UInt32BitsToSingle((uint)value);
            else if (number == 3) kind = (PieceKind)value;
        });
        if (text.Length == 0) throw Damaged($"piece {Pieces.Count} has no text");
        if (!float.IsFinite(score)) throw Damaged($"the score of piece {Pieces.Count} is not a finite number");
        return Enum.IsDefined(kind) ? new(text, score, kind) : throw Damaged($"piece {Pieces.Count} is of the kind {(int)kind}");
    }

    private void AddTraining(int number, ulong value, ReadOnlyMemory<byte> bytes)
    {
        switch (number)
        {
            case 3: algorithm = (int)value; break;
            case 24: MarksBehind = value != 0; break;
            case 35: FallsBackOnBytes = value != 0; break;
            case 40: Unknown = (int)value; break;
            case 41: Begin = (int)value; break;
            case 42: End = (int)value; break;
            case 44: UnknownText = Text(bytes); break;
        }
    }

    private void AddNormalization(int number, ulong value, ReadOnlyMemory<byte> bytes)
    {
        switch (number)
        {
            case 2: Characters = bytes.ToArray(); break;
            case 3: AddsSpace = value != 0; break;
            case 4: RemovesSpaces = value != 0; break;
            case 5: EscapesSpaces = value != 0; break;
        }
    }

    // Of each field its number, and its value as far as it is a number, or its bytes.
    private void Fields(ReadOnlyMemory<byte> message, Field add)
    {
        int at = 0;
        while (at < message.Length)
        {
            ulong tag = Varint(message.Span, ref at);
            int number = (int)Math.Min(tag >> 3, int.MaxValue);
            switch (tag & 7)
            {
                case 0:
                    add(number, Varint(message.Span, ref at), default);
                    break;
                case 1:
                    add(number, BinaryPrimitives.ReadUInt64LittleEndian(Take(8).Span), default);
                    break;
                case 2:
                    ulong length = Varint(message.Span, ref at);
                    add(number, 0, Take(length));
                    break;
                case 5:
                    add(number, BinaryPrimitives.ReadUInt32LittleEndian(Take(4).Span), default);
                    break;
                default:
                    throw Damaged($"a field is of the wire type {tag & 7}");
            }
        }

        ReadOnlyMemory<byte> Take(ulong length)
        {
            if (length > (ulong)(message.Length - at)) throw Damaged("a field is cut off");
            ReadOnlyMemory<byte> taken = message.Slice(at, (int)length);
            at += (int)length;
            return taken;
        }
    }

    private ulong Varint(ReadOnlySpan<byte> message, ref int at)
    {
        ulong value = 0;
        for (int shift = 0; shift < 64; shift += 7)
        {
            if (at == message.Length) throw Damaged("a number is cut off");
            byte next = message[at++];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80) return value;
        }
        throw Damaged("a number has more than 64 bits");
    }

    private string Text(ReadOnlyMemory<byte> bytes)
    {
        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes.Span);
        }
        catch (DecoderFallbackException)
        {
            throw Damaged("a text in it is not valid UTF-8");
        }
    }

    private NolaException Damaged(string what) =>
        new($"{path}: is no SentencePiece model, or a damaged one ({what}); download it again.");
}
