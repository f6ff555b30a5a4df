using System.Runtime.Intrinsics;

namespace Nola.Tensors;

/// <summary>Generates parts of a random basis straight into packed panels (see <see cref="Gemm"/>), sixteen lanes at a time.</summary>
internal static unsafe class BasisPanels
{
    /// <summary>
    /// Entries e0 … e0 + eCount − 1 of matrices i0 … i0 + iCount − 1 as the right operand of a product over matrices:
    /// entry e0 + c of matrix i0 + p at panel c / width, row p, column c mod width. e0 is a multiple of the group size;
    /// entries beyond the matrix are whatever the generator gives and meet no column of the result.
    /// </summary>
    public static void Entries(in RandomBasis basis, int i0, int iCount, int e0, int eCount, float* panels, int width)
    {
        int group = basis.GroupSize;
        float* buffer = stackalloc float[2048];
        for (int p = 0; p < iCount; p++)
        {
            for (int c0 = 0; c0 < eCount; c0 += group)
            {
                Group(basis, (uint)(16 * ((e0 + c0) / group)), 1, (uint)(i0 + p), 0, buffer, 16);
                int end = Math.Min(group, (eCount - c0 + width - 1) / width * width);
                for (int c = 0; c < end; c += width)
                    new ReadOnlySpan<float>(buffer + c, width).CopyTo(new Span<float>(panels + ((long)(c0 + c) / width * iCount + p) * width, width));
            }
        }
    }

    /// <summary>
    /// The transpose, for a product over entries: entry e0 + p of matrix i0 + c at panel c / width, row p, column
    /// c mod width. Lanes run over matrices. e0 is a multiple of the group size, eCount at most to the end of the matrix,
    /// and panels has room for whole groups.
    /// </summary>
    public static void Bases(in RandomBasis basis, int i0, int iCount, int e0, int eCount, float* panels, int width, int panelRows)
    {
        int group = basis.GroupSize, runs = group / 16;
        float* buffer = stackalloc float[2048];
        for (int c = 0; c < iCount; c += 16)
        {
            for (int g = 0; g < eCount; g += group)
            {
                for (int lane = 0; lane < 16 && g + lane < eCount; lane++)
                {
                    Group(basis, (uint)(16 * ((e0 + g) / group) + lane), 0, (uint)(i0 + c), 1, buffer, 16);
                    for (int h = 0; h < runs && g + h * 16 + lane < eCount; h++)
                        Scatter(buffer + h * 16, panels, g + h * 16 + lane, c, width, panelRows);
                }
            }
        }
    }

    /// <summary>
    /// The entries of sixteen counters: run h of sixteen lanes at destination[stride · h]. With steps (1, 0) the lanes are
    /// neighbouring counters of one matrix and the runs together are a group in order; with (0, 1) they are sixteen matrices.
    /// </summary>
    public static void Group(in RandomBasis basis, uint counter, uint counterStep, uint index, uint indexStep, float* destination, int stride)
    {
        uint* words = stackalloc uint[64];
        Philox.Lanes(counter, counterStep, index, indexStep, basis.Stream, basis.Layer, basis.Seed, words);
        if (basis.Entries == BasisEntries.Sign) Signs(words, destination, stride);
        else if (basis.Entries == BasisEntries.Normal) Normals(words, destination, stride);
        else Uniforms(words, destination, stride);
    }

    private static void Uniforms(uint* words, float* destination, int stride)
    {
        Vector512<float> unit = Vector512.Create(1 / 32768f);
        for (int w = 0; w < 4; w++)
        {
            Vector512<int> x = Vector512.Load((int*)words + 16 * w);
            (Vector512.ConvertToSingle((x << 16) >> 16) * unit).Store(destination + 2 * w * stride);
            (Vector512.ConvertToSingle(x >> 16) * unit).Store(destination + (2 * w + 1) * stride);
        }
    }

    private static void Normals(uint* words, float* destination, int stride)
    {
        ReadOnlySpan<float> table = NormalTable.Values;
        for (int w = 0; w < 4; w++)
        {
            for (int t = 0; t < 16; t++)
            {
                uint x = words[16 * w + t];
                destination[2 * w * stride + t] = table[(int)(x & 0xFFFF)];
                destination[(2 * w + 1) * stride + t] = table[(int)(x >> 16)];
            }
        }
    }

    private static void Signs(uint* words, float* destination, int stride)
    {
        Vector512<uint> top = Vector512.Create(0x80000000u), one = Vector512.Create(1f).AsUInt32();
        for (int w = 0; w < 4; w++)
        {
            Vector512<uint> x = Vector512.Load(words + 16 * w);
            for (int b = 0; b < 32; b++, x <<= 1) ((x & top) | one).AsSingle().Store(destination + (32 * w + b) * stride);
        }
    }

    private static void Scatter(float* lanes, float* panels, int row, int column, int width, int panelRows)
    {
        for (int t = 0; t < 16; t += Math.Min(16, width))
        {
            int c = column + t;
            float* to = panels + ((long)(c / width) * panelRows + row) * width + c % width;
            new ReadOnlySpan<float>(lanes + t, Math.Min(16, width)).CopyTo(new Span<float>(to, Math.Min(16, width)));
        }
    }
}
