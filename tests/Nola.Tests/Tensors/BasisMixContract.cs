using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>The mixing product at sizes of several tiles, and its invariants; small sizes with gradients are in OpsTests.</summary>
public abstract class BasisMixContract(Device device)
{
    protected Device Device => device;

    [Contract(12)]
    public void Mixing_and_its_gradient_are_right_and_adjoint(int seed)
    {
        Random r = new(seed);
        Case x = Case.Draw(r);
        float[] c = OpCheck.Values(r, x.Layers * x.Basis.Count, 1), g = OpCheck.Values(r, x.Layers * x.Basis.Size, 1);
        (float[] w, float[] dc) = x.Run(device, c, g);

        double[] wide = x.Mix(c), dwide = x.Gradient(g);
        // Sums of n products of magnitude up to 4 (normal entries) in float32, in blocks: errors grow like √n, not n.
        OpCheck.Close(wide, w, 4e-7 * 4 * Math.Sqrt(x.Basis.Count));
        OpCheck.Close(dwide, dc, 4e-7 * 4 * Math.Sqrt(x.Basis.Size));
        double left = w.Zip(g, (a, b) => (double)a * b).Sum(), right = c.Zip(dc, (a, b) => (double)a * b).Sum();
        // ⟨mix(c), g⟩ = ⟨c, grad(g)⟩, relative to the norms whose angle it measures.
        double scale = Math.Sqrt(w.Sum(v => (double)v * v) * g.Sum(v => (double)v * v));
        Assert.Equal(left, right, 1e-5 * scale);
    }

    [Contract(12)]
    public void A_layer_mixed_alone_is_the_shared_mix_of_its_own_basis(int seed)
    {
        Random r = new(seed);
        Case x = Case.Draw(r) with { OwnBases = true };
        float[] c = OpCheck.Values(r, x.Layers * x.Basis.Count, 1), g = OpCheck.Values(r, x.Layers * x.Basis.Size, 1);
        (float[] w, float[] dc) = x.Run(device, c, g);
        for (int l = 0; l < x.Layers; l++)
        {
            Case alone = new(x.Basis with { Layer = (uint)x.LayerOf(l) + 1 }, 1, false);
            (float[] w1, float[] dc1) = alone.Run(device, Row(c, l), Row(g, l));
            Assert.Equal(w1, Row(w, l));
            Assert.Equal(dc1, Row(dc, l));
        }

        float[] Row(float[] all, int l) => all[(l * all.Length / x.Layers)..((l + 1) * all.Length / x.Layers)];
    }

    [Fact]
    public void Beta_one_adds_to_what_is_there()
    {
        RandomBasis basis = new(3, 255, 0, 140, 30, 40, BasisEntries.Uniform);
        using Tensor c = device.From(OpCheck.Values(new(1), 280, 1), [2, 140]), w = device.Empty([2, 1200]), dc = device.Empty([2, 140]);
        device.BasisMix(basis, c, w, 0.5f);
        device.BasisMixGrad(basis, w, dc, 0.5f);
        float[] w1 = w.ToArray(), dc1 = dc.ToArray();
        device.BasisMixGrad(basis, w, dc, 0.5f, beta: 1);
        device.BasisMix(basis, c, w, 0.5f, beta: 1);
        // Twice the sum, which starts from the first: the rounding of a few blocks.
        OpCheck.Close([.. w1.Select(v => 2.0 * v)], w.ToArray(), 1e-5);
        OpCheck.Close([.. dc1.Select(v => 2.0 * v)], dc.ToArray(), 1e-5);
    }

    [Fact]
    public void Sizes_that_do_not_fit_are_named()
    {
        RandomBasis basis = new(1, 255, 0, 4, 2, 3, BasisEntries.Uniform);
        using Tensor c = device.Zeros([2, 4]), five = device.Zeros([2, 5]), w = device.Zeros([2, 6]);
        using Tensor small = device.Zeros([2, 5]), none = device.Zeros([2, 0]);
        Assert.Contains("BasisMix: coefficients (2, 5)", Assert.Throws<ShapeException>(() => device.BasisMix(basis, five, w)).Message);
        Assert.Contains("w (2, 5)", Assert.Throws<ShapeException>(() => device.BasisMix(basis, c, small)).Message);
        Assert.Contains("BasisMixGrad:", Assert.Throws<ShapeException>(() => device.BasisMixGrad(basis, small, c)).Message);
        Assert.Contains(
            "a basis of 0 matrices", Assert.Throws<ShapeException>(() => device.BasisMix(basis with { Count = 0 }, none, w)).Message);
        foreach (int[] layers in (int[][])[[0], [0, 1, 2]])
        {
            Assert.Contains(
                $"BasisMixPerLayer: {layers.Length} layers",
                Assert.Throws<ShapeException>(() => device.BasisMixPerLayer(basis, layers, c, w)).Message);
            Assert.Contains(
                "one for each of the 2 rows",
                Assert.Throws<ShapeException>(() => device.BasisMixPerLayerGrad(basis, layers, w, c)).Message);
        }
    }

    internal sealed record Case(RandomBasis Basis, int Layers, bool OwnBases)
    {
        private const float Scale = 0.7f;

        // Up to three tiles each way: 128 matrices deep (32 for signs) and 512 entries (2,048) across.
        public static Case Draw(Random r)
        {
            BasisEntries entries = (BasisEntries)r.Next(3);
            int rows = 1 + r.Next(entries == BasisEntries.Sign ? 90 : 40), columns = 1 + r.Next(entries == BasisEntries.Sign ? 60 : 40);
            return new(
                new((ulong)r.NextInt64(), 255, 0, 1 + r.Next(ContractRuns.Sizes(300)), rows, columns, entries),
                1 + r.Next(4),
                r.Next(4) == 0);
        }

        public int LayerOf(int row) => 2 * row + 1;

        /// <summary>Both products with beta 0 into tensors full of NaN.</summary>
        public (float[] W, float[] DCoefficients) Run(Device device, float[] c, float[] g)
        {
            using Tensor coefficients = device.From(c, [Layers, Basis.Count]), w = device.Empty([Layers, Basis.Rows, Basis.Cols]);
            using Tensor dw = device.From(g, w.Shape), dcoefficients = device.Empty(coefficients.Shape);
            device.Fill(w, float.NaN);
            device.Fill(dcoefficients, float.NaN);
            int[] own = [.. Enumerable.Range(0, Layers).Select(LayerOf)];
            if (OwnBases)
            {
                device.BasisMixPerLayer(Basis, own, coefficients, w, Scale);
                device.BasisMixPerLayerGrad(Basis, own, dw, dcoefficients, Scale);
            }
            else
            {
                device.BasisMix(Basis, coefficients, w, Scale);
                device.BasisMixGrad(Basis, dw, dcoefficients, Scale);
            }
            return (w.ToArray(), dcoefficients.ToArray());
        }

        public double[] Mix(float[] c)
        {
            double[] w = new double[Layers * Basis.Size];
            Each((l, i, e, entry) => w[l * Basis.Size + e] += Scale * (double)c[l * Basis.Count + i] * entry);
            return w;
        }

        public double[] Gradient(float[] g)
        {
            double[] dc = new double[Layers * Basis.Count];
            Each((l, i, e, entry) => dc[l * Basis.Count + i] += Scale * (double)g[l * Basis.Size + e] * entry);
            return dc;
        }

        private void Each(Action<int, int, int, float> visit)
        {
            float[] entries = new float[Basis.Size];
            for (int l = 0; l < Layers; l++)
            {
                RandomBasis own = OwnBases ? Basis with { Layer = (uint)LayerOf(l) + 1 } : Basis;
                for (int i = 0; i < Basis.Count; i++)
                {
                    own.Fill((uint)i, entries);
                    for (int e = 0; e < Basis.Size; e++) visit(l, i, e, entries[e]);
                }
            }
        }
    }
}
