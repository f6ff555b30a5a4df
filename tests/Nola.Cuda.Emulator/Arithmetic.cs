using System.Globalization;
using Nola.Models;
using Nola.Tensors;

namespace Nola.Cuda.Emulator;

/// <summary>Operations that a launch's work takes however it is done; a product and the sum that it goes into are two.</summary>
/// <param name="OnTensorCores">In products of bfloat16 operands.</param>
/// <param name="InFloat32">In products of float32 operands, and for entries of a basis.</param>
internal readonly record struct Arithmetic(double OnTensorCores, double InFloat32)
{
    // Ten rounds of two products, each with its upper half, and four exclusive ors; and for each of eight entries what makes a
    // number of 16 bits: a shift or a mask, a conversion, a product.
    private const double OperationsOfEntry = (10 * 8 + 8 * 3) / 8.0;

    /// <summary>The sizes of a launch's work in words, and its arithmetic.</summary>
    public static (string Work, Arithmetic Needs) Of(GpuDevice.QueuedKernel kernel, TokenStream stream)
    {
        foreach (object argument in kernel.Arguments)
        {
            switch (argument)
            {
                case TensorShape s:
                    int depth = kernel.Kernel.Name.StartsWith("Along", StringComparison.Ordinal) ? s.A.Columns : s.A.Rows;
                    return (Sizes(s.End.C.Rows, s.End.C.Columns, depth), new(Product(s.End.C.Rows, s.End.C.Columns, depth), 0));
                case ProductShape s:
                    return (Sizes(s.End.C.Rows, s.End.C.Columns, s.K), new(0, Product(s.End.C.Rows, s.End.C.Columns, s.K)));
                case AttentionShape s:
                    double ofPair = 2.0 * s.Heads * s.Size * ProductsOf(kernel.Kernel.Name);
                    return ($"{s.Rows} rows, {s.Heads} heads", new(ofPair * Pairs(stream), 0));
                case BasisNumbers n:
                    return (
                        Sizes(n.Rows, n.Size, n.Count), new(0, Product(n.Rows, n.Size, n.Count) + OperationsOfEntry * n.Size * n.Count));
                case Place place:
                    return ($"{place.Rows} × {place.Columns}", default);
            }
        }
        ILGPU.Index3D grid = kernel.Config.GridDim;
        return (grid.Y * grid.Z == 1 ? $"{grid.X} blocks" : $"{grid.X} × {grid.Y} × {grid.Z} blocks", default);
    }

    private static string Sizes(int rows, int columns, int depth) =>
        string.Create(CultureInfo.InvariantCulture, $"{rows} × {columns} × {depth}");

    private static double Product(double rows, double columns, double depth) => 2 * rows * columns * depth;

    // Of a head's queries and the keys that they see.
    private static double Pairs(TokenStream stream)
    {
        double pairs = 0;
        for (int i = 0; i + 1 < stream.Starts.Length; i++)
        {
            double length = stream.Starts[i + 1] - stream.Starts[i];
            pairs += length * (length + 1) / 2;
        }
        return pairs;
    }

    // Scores and values; again scores, dP and dq; again scores and dP, dk and dv.
    private static int ProductsOf(string kernel) =>
        kernel.TrimEnd('0', '1', '2', '4', '6', '8') switch { "Forward" => 2, "Queries" => 3, "Keys" => 4, _ => 0 };
}
