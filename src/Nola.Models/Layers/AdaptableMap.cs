namespace Nola.Models;

/// <summary>
/// A linear map that an adapter can be on: one of the model's, or some columns of a fused one, such as the queries of
/// <c>attn.c_attn</c>. A model lists its own; adapters, files and messages speak of them by name.
/// </summary>
/// <param name="Name">The full name, for example <c>h.3.attn.q</c>.</param>
/// <param name="Kind">The name inside a block, which is the same in all layers: <c>attn.q</c>.</param>
/// <param name="Layer">Number of the block, from 0.</param>
/// <param name="Stream">
/// The kind's number, which enters the random bases (docs/basis.md): it never changes, and no other kind of the family has it.
/// </param>
/// <param name="Linear">The linear map that it lies on.</param>
/// <param name="Column">First column of the linear map that it writes.</param>
/// <param name="Out">Number of columns that it writes.</param>
/// <param name="IsModule">Whether the checkpoint has a module of that name, as PEFT adapts them; a part of one has not.</param>
public sealed record AdaptableMap(string Name, string Kind, int Layer, int Stream, LinearMap Linear, int Column, int Out, bool IsModule)
{
    /// <summary>Number of inputs.</summary>
    public int In => Linear.In;

    /// <summary>Whether the two write a column of the same linear map.</summary>
    internal bool Overlaps(AdaptableMap other) =>
        Linear == other.Linear && Column < other.Column + other.Out && other.Column < Column + Out;
}
