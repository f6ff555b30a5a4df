using System.Runtime.Intrinsics;
using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Generated panels at every vector width, for every panel width, against the scalar definition.</summary>
public sealed unsafe class BasisPanelsTests
{
    // No entry has this value: normal entries end at 4.4.
    private const float Untouched = 1e30f;

    [Property(MaxTest = 60)]
    public void Fill_gives_the_scalar_entries(int seed)
    {
        Random r = new(seed);
        RandomBasis basis = Draw(r);
        foreach (uint index in (uint[])[0, (uint)r.Next(basis.Count), RandomBasis.OffsetIndex])
        {
            float[] filled = new float[basis.Size];
            basis.Fill(index, filled);
            Assert.Equal(Enumerable.Range(0, basis.Size).Select(e => basis.Entry(index, e)), filled);
        }
    }

    [Fact]
    public void Fill_refuses_another_length() =>
        Assert.Contains(
            "expected 12",
            Assert.Throws<ShapeException>(() => new RandomBasis(1, 0, 0, 2, 3, 4, BasisEntries.Uniform).Fill(0, new float[11])).Message);

    [Property(MaxTest = 60)]
    public void Panels_are_the_scalar_entries_at_every_width(int seed)
    {
        Random r = new(seed);
        RandomBasis basis = Draw(r);
        int width = 8 << r.Next(3), first = r.Next(basis.Count), matrices = 1 + r.Next(basis.Count - first);
        int start = basis.GroupSize * r.Next((basis.Size + basis.GroupSize - 1) / basis.GroupSize);
        int entries = 1 + r.Next(basis.Size - start);
        Window window = new(basis, first, matrices, start, entries, width);
        window.Check(BasisPanels.Entries, BasisPanels.Bases);
        window.Check(BasisPanels.Entries<Words128, Vector128<uint>>, BasisPanels.Bases<Words128, Vector128<uint>>);
        if (Vector256.IsHardwareAccelerated)
            window.Check(BasisPanels.Entries<Words256, Vector256<uint>>, BasisPanels.Bases<Words256, Vector256<uint>>);
        // A vector of sixteen does not fit a panel of eight columns; there the dispatch takes the narrower one.
        if (Vector512.IsHardwareAccelerated && width >= 16)
            window.Check(BasisPanels.Entries<Words512, Vector512<uint>>, BasisPanels.Bases<Words512, Vector512<uint>>);
    }

    private static RandomBasis Draw(Random r) =>
        new(
            (ulong)r.NextInt64(), (uint)r.Next(512), (uint)r.Next(3),
            1 + r.Next(40), 1 + r.Next(60), 1 + r.Next(60), (BasisEntries)r.Next(3));

    private delegate void Rows(in RandomBasis basis, int i0, int iCount, int e0, int eCount, float* panels, int width);

    private delegate void Columns(in RandomBasis basis, int i0, int iCount, int e0, int eCount, float* panels, int width, int panelRows);

    private sealed record Window(RandomBasis Basis, int First, int Matrices, int Start, int Entries, int Width)
    {
        public void Check(Rows rows, Columns columns)
        {
            int group = Basis.GroupSize, groups = (Entries + group - 1) / group * group, panelRows = Entries + 3;
            float[] panels = Room(groups * Matrices);
            fixed (float* p = panels) rows(Basis, First, Matrices, Start, Entries, p, Width);
            for (int i = 0; i < Matrices; i++)
                for (int c = 0; c < Entries; c++)
                    Same(i, c, panels[(c / Width * Matrices + i) * Width + c % Width]);
            Assert.Equal(Untouched, panels[groups * Matrices]);

            int across = (Matrices + Math.Max(16, Width) - 1) / Math.Max(16, Width) * Math.Max(16, Width);
            panels = Room(across * panelRows);
            fixed (float* p = panels) columns(Basis, First, Matrices, Start, Entries, p, Width, panelRows);
            for (int i = 0; i < Matrices; i++)
            {
                for (int e = 0; e < Entries; e++) Same(i, e, panels[(i / Width * panelRows + e) * Width + i % Width]);
                for (int e = Entries; e < panelRows; e++) Assert.Equal(Untouched, panels[(i / Width * panelRows + e) * Width + i % Width]);
            }
            Assert.Equal(Untouched, panels[across * panelRows]);
        }

        private void Same(int i, int e, float got)
        {
            float expected = Basis.Entry((uint)(First + i), Start + e);
            if (got != expected) Assert.Fail($"{this}: matrix {i}, entry {e} is {got} and not {expected}");
        }

        // With a margin behind what may be written, so that a store beyond it is seen and not felt.
        private static float[] Room(int count)
        {
            float[] panels = new float[count + 64];
            Array.Fill(panels, Untouched);
            return panels;
        }
    }
}
