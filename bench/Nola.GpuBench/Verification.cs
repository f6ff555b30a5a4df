using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>How products of a device round.</summary>
internal enum Precision
{
    /// <summary>Everything in float32.</summary>
    Float32,

    /// <summary>Operands of large products in TF32.</summary>
    Tf32,

    /// <summary>Operands of large products, and of attention with heads of 64 and 128, in bfloat16.</summary>
    BFloat16,
}

/// <summary>Every kernel family at sizes of several tiles, on the GPU and on the CPU, from the same numbers.</summary>
internal static class Verification
{
    private static readonly int[] starts = [0, 130, 130, 131, 400];

    private static readonly (string Name, bool Product, Func<Device, float[]> Run)[] cases =
    [
        ("add, multiply, axpby", false, d => Two(d, (a, b, y) => { d.Add(a, b, y); d.Multiply(a, y, y); d.Axpby(2, b, 1, y); })),
        ("gelu and its gradient", false, d => Two(d, (a, b, y) => { d.Gelu(a, y); d.GeluGrad(a, b, y, 1); })),
        ("layer norm", false, LayerNorm),
        ("RMS norm", false, d => RmsNorm(d, 333, 768)),
        ("RMS norm of heads in a row", false, d => RmsNorm(d, 333, 64)),
        ("rotary embedding", false, Rotary),
        ("silu · multiply and its gradient", false, SiluMultiply),
        ("sums", false, Sums),
        ("embedding", false, Embedding),
        ("AdamW", false, AdamW),
        ("x · w", true, d => Product(d, 300, 500, 700, false, false)),
        ("x · wᵀ", true, d => Product(d, 300, 500, 700, false, true)),
        ("xᵀ · w", true, d => Product(d, 300, 500, 700, true, false)),
        ("adapter's x · A", false, d => Product(d, 1000, 768, 8, false, false)),
        ("adapter's xᵀ · du", false, d => Product(d, 768, 1000, 8, true, false)),
        ("frozen weight both ways", true, Frozen),
        ("bias, residual and GELU after x · W", true, Fused),
        ("head and cross-entropy", true, Head),
        ("attention, heads of 64", true, d => Attention(d, new(2, 2, 64))),
        ("attention, heads of 128", true, d => Attention(d, new(1, 1, 128))),
        ("attention, heads of 80", false, d => Attention(d, new(1, 1, 80))),
        ("attention, four heads of 64 on two of keys", true, d => Attention(d, new(4, 2, 64))),
        ("attention of all to all, heads of 64", true, d => Attention(d, new(2, 2, 64, causal: false))),
        ("attention in a window, heads of 64", false, d => Attention(d, new(2, 1, 64, window: 20))),
        ("mixing uniform entries", false, d => Mix(d, BasisEntries.Uniform)),
        ("mixing normal entries", false, d => Mix(d, BasisEntries.Normal)),
        ("mixing signs", false, d => Mix(d, BasisEntries.Sign)),
    ];

    /// <summary>Runs all cases; true when the device agrees with the CPU.</summary>
    public static bool Run(Device device, Precision precision, Report report)
    {
        using CpuDevice cpu = new();
        report.Table($"Against the CPU, products in {precision}: {device.Description}", "kernels", "largest difference", "bound", "");
        bool all = true;
        foreach ((string name, bool product, Func<Device, float[]> run) in cases)
        {
            float[] expected = run(cpu), got = run(device);
            double scale = expected.Max(Math.Abs), worst = expected.Zip(got, (a, b) => Math.Abs((double)a - b)).Max() / scale;
            // bfloat16 has 8 bits, so operands err by 2⁻⁹ each, TF32's by 2⁻¹²; float32 sums of up to a thousand terms by some 1e-6.
            double bound = !product || precision == Precision.Float32 ? 1e-5 : precision == Precision.Tf32 ? 1.5e-3 : 1e-2;
            bool ok = worst <= bound;
            all &= ok;
            report.Row(
                new { kind = "verify", name, precision = precision.ToString(), worst, bound, ok },
                name, $"{worst:E1}", $"{bound:E0}", ok ? "ok" : "DIFFERS");
        }
        report.Line("");
        return all;
    }

    internal static float[] Values(int seed, int count)
    {
        Random r = new(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(2 * r.NextDouble() - 1))];
    }

    private static Tensor Random(Device d, int seed, Shape shape) => d.From(Values(seed, shape.Length), shape);

    private static float[] Two(Device d, Action<Tensor, Tensor, Tensor> run)
    {
        using Tensor a = Random(d, 1, [100_003]), b = Random(d, 2, [100_003]), y = d.Zeros([100_003]);
        run(a, b, y);
        return y.ToArray();
    }

    private static float[] LayerNorm(Device d)
    {
        using Tensor x = Random(d, 1, [333, 768]), w = Random(d, 2, [768]), b = Random(d, 3, [768]);
        using Tensor dy = Random(d, 4, [333, 768]), y = d.Empty([333, 768]);
        using Tensor mean = d.Empty([333]), rstd = d.Empty([333]), dx = d.Empty([333, 768]), dw = d.Empty([768]), db = d.Empty([768]);
        d.LayerNorm(x, w, b, 1e-5f, y, mean, rstd);
        d.LayerNormGrad(x, w, mean, rstd, dy, dx);
        d.LayerNormWeightGrad(x, mean, rstd, dy, dw, 0, db, 0);
        return [.. y.ToArray(), .. dx.ToArray(), .. dw.ToArray(), .. db.ToArray()];
    }

    private static float[] RmsNorm(Device d, int rows, int size)
    {
        using Tensor x = Random(d, 1, [rows, 768]), w = Random(d, 2, [size]), dy = Random(d, 3, [rows, 768]), y = d.Empty([rows, 768]);
        using Tensor rstd = d.Empty([rows, 768 / size]), dx = d.Empty([rows, 768]), dw = d.Empty([size]);
        d.RmsNorm(x, w, 1e-5f, y, rstd);
        d.RmsNormGrad(x, w, rstd, dy, dx);
        d.RmsNormWeightGrad(x, rstd, dy, dw);
        // A weight's sums have the rows and the heads for terms, and are larger by that than what is beside them.
        return [.. y.ToArray(), .. dx.ToArray(), .. dw.ToArray().Select(v => v / 50)];
    }

    private static float[] Rotary(Device d)
    {
        AttentionLayout layout = new(6, 2, 64);
        using Tensor x = Random(d, 1, [333, layout.Width]), positions = d.From([.. Enumerable.Range(0, 333).Select(i => i * i)]);
        using Tensor angles = RotaryFrequencies.Default(500_000, 64).Angles(d, 333 * 333), y = d.Empty(x.Shape);
        d.Rotary(x, positions, angles, layout, y);
        d.RotaryGrad(x, positions, angles, layout, x);
        return [.. y.ToArray(), .. x.ToArray()];
    }

    private static float[] SiluMultiply(Device d)
    {
        using Tensor x = Random(d, 1, [333, 1536]), dx = Random(d, 2, [333, 1536]), y = d.Empty([333, 768]);
        Matrix gate = ((Matrix)x).SliceColumns(0, 768), up = ((Matrix)x).SliceColumns(768, 768);
        d.SiluMultiply(gate, up, y);
        d.SiluMultiplyGrad(gate, up, y, ((Matrix)dx).SliceColumns(0, 768), ((Matrix)dx).SliceColumns(768, 768), 1);
        return [.. y.ToArray(), .. dx.ToArray()];
    }

    private static float[] Sums(Device d)
    {
        using Tensor x = Random(d, 1, [700, 130]), columns = d.Empty([130]), sum = d.Empty([]);
        d.ColumnSums(x, columns);
        d.Sum(x, sum);
        return [.. columns.ToArray(), sum.Item(), (float)d.SumSquares(x) / 1000];
    }

    private static float[] Embedding(Device d)
    {
        using Tensor table = Random(d, 1, [50, 768]), indices = d.From([.. Enumerable.Range(0, 300).Select(i => i * i % 50)]);
        using Tensor y = d.Empty([300, 768]), grad = d.Zeros([50, 768]);
        d.GatherRows(table, indices, y);
        d.ScatterAddRows(y, indices, grad);
        return [.. y.ToArray(), .. grad.ToArray()];
    }

    private static float[] AdamW(Device d)
    {
        using Tensor p = Random(d, 1, [10_001]), g = Random(d, 2, [10_001]), m = d.Zeros([10_001]), v = d.Zeros([10_001]);
        for (int t = 1; t < 4; t++) d.AdamW(p, g, m, v, new AdamWStep(0.01f, 0.9f, 0.999f, 1e-6f, 0.1f, t, 0.5f));
        return p.ToArray();
    }

    private static float[] Product(Device d, int m, int k, int n, bool transposeA, bool transposeB)
    {
        using Tensor a = Random(d, 1, transposeA ? [k, m] : [m, k]);
        using Tensor b = Random(d, 2, transposeB ? [n, k] : [k, n]), c = d.Empty([m, n]), bias = Random(d, 3, [n]);
        d.MatMul(a, transposeA, b, transposeB, c, 0.5f, 0, bias);
        return c.ToArray();
    }

    private static float[] Frozen(Device d)
    {
        using Tensor w = Random(d, 1, [384, 1000]), x = Random(d, 2, [200, 384]), y = d.Empty([200, 1000]), dx = d.Empty([200, 384]);
        using FrozenMatrix frozen = d.Freeze(w);
        d.MatMul(x, frozen, null, y);
        d.MatMulTransposed(y, frozen, dx);
        return [.. y.ToArray().Select(v => v * 10), .. dx.ToArray()];
    }

    private static float[] Fused(Device d)
    {
        using Tensor w = Random(d, 1, [384, 1000]), x = Random(d, 2, [200, 384]), bias = Random(d, 3, [1000]);
        using Tensor residual = Random(d, 4, [200, 1000]), y = d.Empty([200, 1000]), activated = d.Empty([200, 1000]);
        using FrozenMatrix frozen = d.Freeze(w);
        d.MatMul(x, frozen, bias, y, 0, residual, activated);
        return [.. y.ToArray(), .. activated.ToArray()];
    }

    private static float[] Head(Device d)
    {
        using Tensor table = Random(d, 1, [5003, 128]), x = Random(d, 2, [300, 128]), losses = d.Empty([300]), dx = d.Empty([300, 128]);
        using Tensor targets = d.From([.. Enumerable.Range(0, 300).Select(i => i * 17 % 5003)]);
        using FrozenMatrix head = d.Freeze(table, transposed: true);
        d.HeadCrossEntropy(x, head, targets, 0.1f, losses, dx);
        return [.. losses.ToArray(), .. dx.ToArray()];
    }

    private static float[] Attention(Device d, AttentionLayout layout)
    {
        int n = starts[^1];
        using Tensor qkv = Random(d, 1, [n, layout.Width]), dy = Random(d, 2, [n, layout.QueryWidth]), s = d.From(starts);
        using Tensor y = d.Empty(dy.Shape), lse = d.Empty([layout.Heads, n]), dqkv = d.Empty(qkv.Shape);
        d.Attention(qkv, s, layout, y, lse);
        d.AttentionGrad(qkv, s, layout, y, lse, dy, dqkv);
        return [.. y.ToArray(), .. lse.ToArray(), .. dqkv.ToArray()];
    }

    private static float[] Mix(Device d, BasisEntries entries)
    {
        RandomBasis basis = new(42, 3, 0, 300, 768, 8, entries);
        using Tensor c = Random(d, 1, [12, 300]), w = d.Empty([12, 768, 8]), dc = d.Empty([12, 300]);
        d.BasisMix(basis, c, w, 0.05f);
        d.BasisMixGrad(basis, w, dc, 0.05f);
        return [.. w.ToArray(), .. dc.ToArray()];
    }
}
