using System.Runtime.CompilerServices;
using ILGPU;

namespace Nola.Tensors;

/// <summary>Functions that kernels share. Sums within a warp or block have one order, so results have one set of bits.</summary>
internal static class GpuMath
{
    public const int WarpSize = 32;

    private const float Log2E = 1.44269504f, Ln2 = 0.693147181f;

    /// <summary>eˣ through the hardware's 2ˣ: relative error about 2⁻²² and that of x · log₂e.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Exp(float x) => GpuIntrinsics.Exp2(x * Log2E);

    /// <summary>ln x through the hardware's log₂.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Log(float x) => GpuIntrinsics.Log2(x) * Ln2;

    /// <summary>
    /// tanh x = 1 − 2 / (e²ˣ + 1), as on the CPU: absolute error 1e-7, where the hardware's tanh has 5e-4.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Tanh(float x) => 1 - 2 * GpuIntrinsics.Reciprocal(Exp(x + x) + 1);

    /// <summary>erf x by the rational function that the CPU has, see <see cref="SimdMath.Erf{S, V}"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Erf(float x)
    {
        x = IntrinsicMath.Min(IntrinsicMath.Max(x, -4), 4);
        float square = x * x;
        float p = -2.72614225801306e-10f * square + 2.77068142495902e-08f;
        p = p * square - 2.10102402082508e-06f;
        p = p * square - 5.69250639462346e-05f;
        p = p * square - 7.34990630326855e-04f;
        p = p * square - 2.95459980854025e-03f;
        p = p * square - 1.60960333262415e-02f;
        float q = -1.45660718464996e-05f * square - 2.13374055278905e-04f;
        q = q * square - 1.68282697438203e-03f;
        q = q * square - 7.37332916720468e-03f;
        q = q * square - 1.42647390514189e-02f;
        return x * p * GpuIntrinsics.Reciprocal(q);
    }

    /// <summary>
    /// The sum over a block of at most eight warps, in every thread. Uses eight floats of shared memory, free again after
    /// the next barrier.
    /// </summary>
    public static float BlockSum(float x, ArrayView<float> shared)
    {
        x = GpuIntrinsics.WarpSum(x);
        if ((Group.IdxX & (WarpSize - 1)) == 0) shared[Group.IdxX / WarpSize] = x;
        Group.Barrier();
        float sum = shared[0];
        for (int warp = 1; warp < Group.DimX / WarpSize; warp++) sum += shared[warp];
        return sum;
    }

    /// <summary>The largest of a block, in every thread; shared memory as in <see cref="BlockSum"/>.</summary>
    public static float BlockMax(float x, ArrayView<float> shared)
    {
        x = GpuIntrinsics.WarpMax(x);
        if ((Group.IdxX & (WarpSize - 1)) == 0) shared[Group.IdxX / WarpSize] = x;
        Group.Barrier();
        float max = shared[0];
        for (int warp = 1; warp < Group.DimX / WarpSize; warp++) max = IntrinsicMath.Max(max, shared[warp]);
        return max;
    }

    /// <summary>The last s with starts[s] / tile + s ≤ slot: the sequence of a slot, when sequences are cut into tiles.</summary>
    /// <remarks>
    /// Sequence s owns the slots from starts[s] / tile + s on. They are at least as many as its tiles, because rounding
    /// down at both ends loses less than the one that s adds; so N / tile + S slots are enough, and none has to be counted.
    /// </remarks>
    public static int SequenceOfSlot(ArrayView<int> starts, int slot, int tile)
    {
        int low = 0, high = (int)starts.Length - 2;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (starts[middle] / tile + middle <= slot) low = middle;
            else high = middle - 1;
        }
        return low;
    }

    /// <summary>The last s with starts[s] ≤ row: the sequence that a row of the stream belongs to.</summary>
    public static int SequenceOfRow(ArrayView<int> starts, int row)
    {
        int low = 0, high = (int)starts.Length - 2;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (starts[middle] <= row) low = middle;
            else high = middle - 1;
        }
        return low;
    }
}
