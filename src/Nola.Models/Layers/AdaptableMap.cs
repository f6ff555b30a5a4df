namespace Nola.Models;

/// <summary>
/// A linear map that an adapter can be on: one of the model's, or some columns of a fused one, such as the queries of
/// <c>attn.c_attn</c>; the token embedding, which maps a row with a single one to a row of its table; or the head. A model lists
/// its own; adapters, files and messages speak of them by name.
/// </summary>
/// <param name="Name">The full name, for example <c>h.3.attn.q</c>.</param>
/// <param name="Kind">The name inside a block, which is the same in all layers: <c>attn.q</c>.</param>
/// <param name="Layer">Number of the block, from 0; 0 for a map that is in none.</param>
/// <param name="Stream">
/// The kind's number, which enters the random bases (docs/basis.md): it never changes, and no other kind of the family has it.
/// </param>
/// <param name="Host">The layer that it lies on.</param>
/// <param name="In">Number of inputs.</param>
/// <param name="Column">First column of the layer's output that it writes.</param>
/// <param name="Out">Number of columns that it writes.</param>
/// <param name="IsModule">Whether the checkpoint has a module of that name, as PEFT adapts them; a part of one has not.</param>
public sealed record AdaptableMap(
    string Name, string Kind, int Layer, int Stream, AdaptableLayer Host, int In, int Column, int Out, bool IsModule)
{
    /// <summary>Full names that it has in other layouts of the checkpoint, by which it can be named too.</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>Whether it is the token embedding, which looks rows up by token.</summary>
    public bool IsLookup => Host is TokenEmbedding;

    /// <summary>Whether it is in a block. The token embedding and the head are in none.</summary>
    public bool IsInBlock => Host is LinearMap;

    /// <summary>Whether the checkpoint has its weight as (out, in); the table of an embedding or a head is nobody's (in, out).</summary>
    internal bool Transposed => Host is not LinearMap { Transposed: false };

    /// <summary>Whether the two write a column of the same layer.</summary>
    internal bool Overlaps(AdaptableMap other) =>
        Host == other.Host && Column < other.Column + other.Out && other.Column < Column + Out;
}
