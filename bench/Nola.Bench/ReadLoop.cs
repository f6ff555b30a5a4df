using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Nola.Tensors;

namespace Nola.Bench;

/// <summary>Reads memory in order on every thread of a team: 256 MB, more than caches hold.</summary>
internal sealed unsafe class ReadLoop : IDisposable
{
    private const int Piece = 1 << 20, Pieces = 64;

    private readonly ThreadTeam team;
    private readonly float* data;

    public ReadLoop(ThreadTeam team)
    {
        this.team = team;
        data = (float*)HostMemory.Allocate(Bytes);
        new Span<float>(data, Piece * Pieces).Fill(1);
    }

    /// <summary>What <see cref="Run"/> reads.</summary>
    public const int Bytes = sizeof(float) * Piece * Pieces;

    /// <summary>Reads it once.</summary>
    public void Run() => team.For(Pieces, 1, (start, end) =>
    {
        for (int i = start; i < end; i++) Read(data + (long)i * Piece, Piece);
    });

    public void Dispose() => HostMemory.Free(data);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Read(float* data, int count)
    {
        int width = Vector<float>.Count;
        Vector<float> a = default, b = default, c = default, d = default;
        for (int i = 0; i < count; i += 4 * width)
        {
            a += Vector.Load(data + i);
            b += Vector.Load(data + i + width);
            c += Vector.Load(data + i + 2 * width);
            d += Vector.Load(data + i + 3 * width);
        }
        if (Vector.Sum(a + b + c + d) != count)
            throw new InvalidOperationException("The bandwidth loop read something else than it should.");
    }
}
