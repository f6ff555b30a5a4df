using System.Runtime.CompilerServices;

namespace Nola.Tensors;

/// <summary>
/// Up to four dimensions, stored inline, so that copying a shape allocates nothing.
/// Written as a collection: <c>Shape s = [B, T, C]</c>; read from either end: <c>s[^1]</c>.
/// The empty shape <c>[]</c> is a scalar of one element.
/// </summary>
[CollectionBuilder(typeof(Shape), nameof(Create))]
public readonly struct Shape : IEquatable<Shape>
{
    private readonly int d0, d1, d2, d3;

    private Shape(ReadOnlySpan<int> dimensions)
    {
        if (dimensions.Length > 4)
            throw new ShapeException($"Shape: {dimensions.Length} dimensions given; at most 4 are supported.");
        long length = 1;
        foreach (int d in dimensions)
        {
            if (d < 0) throw new ShapeException($"Shape: dimension {d} is negative.");
            length *= d;
            if (length > int.MaxValue)
                throw new ShapeException($"Shape: ({string.Join(", ", dimensions.ToArray())}) has more than {int.MaxValue} elements.");
        }
        Rank = dimensions.Length;
        if (Rank > 0) d0 = dimensions[0];
        if (Rank > 1) d1 = dimensions[1];
        if (Rank > 2) d2 = dimensions[2];
        if (Rank > 3) d3 = dimensions[3];
    }

    /// <summary>Number of dimensions, 0 to 4.</summary>
    public int Rank { get; }

    /// <summary>Number of elements: the product of the dimensions, 1 for a scalar.</summary>
    public int Length => Rank switch { 0 => 1, 1 => d0, 2 => d0 * d1, 3 => d0 * d1 * d2, _ => d0 * d1 * d2 * d3 };

    /// <summary>The dimension at <paramref name="index"/>; <c>^1</c> is the last.</summary>
    /// <exception cref="ShapeException">The index is outside the shape.</exception>
    public int this[Index index] => index.GetOffset(Rank) switch
    {
        0 when Rank > 0 => d0,
        1 when Rank > 1 => d1,
        2 when Rank > 2 => d2,
        3 when Rank > 3 => d3,
        _ => throw new ShapeException($"Shape: dimension {index} is outside {this}."),
    };

    /// <summary>Builds a shape; what the collection syntax calls.</summary>
    public static Shape Create(ReadOnlySpan<int> dimensions) => new(dimensions);

    /// <summary>All leading dimensions multiplied: the rows when the tensor is read as a matrix of its last dimension.</summary>
    public int Rows => Rank < 2 ? 1 : Length / Math.Max(1, this[^1]);

    /// <summary>The last dimension; 1 for a scalar.</summary>
    public int Columns => Rank == 0 ? 1 : this[^1];

    /// <summary>The dimensions as an array, outermost first.</summary>
    public int[] Dimensions() => [.. ((int[])[d0, d1, d2, d3]).AsSpan(0, Rank)];

    /// <summary>Enumerates the dimensions, outermost first.</summary>
    public IEnumerator<int> GetEnumerator() => ((IEnumerable<int>)Dimensions()).GetEnumerator();

    /// <inheritdoc/>
    public bool Equals(Shape other) =>
        Rank == other.Rank && d0 == other.d0 && d1 == other.d1 && d2 == other.d2 && d3 == other.d3;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Shape other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Rank, d0, d1, d2, d3);

    /// <summary>Same rank and the same dimensions.</summary>
    public static bool operator ==(Shape left, Shape right) => left.Equals(right);

    /// <summary>Different rank or dimensions.</summary>
    public static bool operator !=(Shape left, Shape right) => !left.Equals(right);

    /// <summary>For example <c>(8, 512, 768)</c>.</summary>
    public override string ToString() => Rank switch
    {
        0 => "()",
        1 => $"({d0})",
        2 => $"({d0}, {d1})",
        3 => $"({d0}, {d1}, {d2})",
        _ => $"({d0}, {d1}, {d2}, {d3})",
    };
}

/// <summary>Shapes that do not fit the call; the message names the call, the shapes and the condition.</summary>
public sealed class ShapeException(string message) : ArgumentException(message);
