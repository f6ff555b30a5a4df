namespace Nola.Tensors;

/// <summary>
/// A few products with known results, run before a GPU is used: a driver that compiles a kernel wrongly, or a card that
/// counts wrongly, is found in a second and not after a day.
/// </summary>
internal sealed class SelfTest
{
    private readonly Device device;
    private readonly List<string> remarks = [];

    private SelfTest(Device device) => this.device = device;

    /// <summary>Returns when all is well, with a sentence for each result that is one unit in the last place off.</summary>
    /// <exception cref="NolaException">Something is wrong; the message names the kernel, the value and what was expected.</exception>
    public static IReadOnlyList<string> Run(Device device) =>
        Run(device, t => t.Elementwise(), t => t.Product(), t => t.Attention(), t => t.Basis());

    /// <summary>The same of what a backward pass runs besides.</summary>
    /// <exception cref="NolaException">Something is wrong.</exception>
    public static IReadOnlyList<string> RunBackward(Device device) => Run(device, t => t.Gradients(), t => t.AttentionGradients());

    /// <summary>The same of what decoding runs besides.</summary>
    /// <exception cref="NolaException">Something is wrong.</exception>
    public static IReadOnlyList<string> RunDecoding(Device device) => Run(device, t => t.CachedAttention(), t => t.Ranking());

    /// <summary>Compares results with what is known; for tests, and for the parts above.</summary>
    /// <param name="kernel">What computed them.</param>
    /// <param name="got">The results.</param>
    /// <param name="expected">What they should be.</param>
    /// <param name="exactly">Whether a last bit matters: the entries of a basis belong to its seed.</param>
    /// <returns>What is one unit in the last place off, in a sentence, or null.</returns>
    /// <exception cref="NolaException">A result is further off.</exception>
    internal static string? Compare(string kernel, float[] got, float[] expected, bool exactly = false)
    {
        int off = 0, first = 0;
        for (int i = got.Length - 1; i >= 0; i--)
        {
            if (got[i] == expected[i]) continue;
            bool near = got[i] == MathF.BitIncrement(expected[i]) || got[i] == MathF.BitDecrement(expected[i]);
            if (exactly || !near) throw new NolaException($"{kernel}: element {i} is {got[i]:R} and should be {expected[i]:R}");
            off++;
            first = i;
        }
        return off == 0 ? null : $"{kernel}: {off} of {got.Length} results are one unit in the last place off, "
            + $"the first {got[first]:R} for {expected[first]:R}";
    }

    private static List<string> Run(Device device, params ReadOnlySpan<Action<SelfTest>> parts)
    {
        SelfTest test = new(device);
        foreach (Action<SelfTest> part in parts) part(test);
        return test.remarks;
    }

    private void Elementwise()
    {
        float[] values = [.. Enumerable.Range(0, 1003).Select(i => i % 17 - 8f)];
        using Tensor x = device.From(values, [values.Length]), y = device.Empty([values.Length]), sum = device.Empty([]);
        device.Fill(y, 2);
        device.Axpby(3, x, 1, y);
        device.Sum(y, sum);
        Check("Axpby", y.ToArray(), [.. values.Select(v => 3 * v + 2)]);
        Check("Sum", [sum.Item()], [values.Sum(v => 3 * v + 2)]);
    }

    private void Product()
    {
        const int M = 70, K = 129, N = 90;
        // Small whole numbers: exact in bfloat16, and their sums exact in float32.
        float[] a = [.. Enumerable.Range(0, M * K).Select(i => i * 7 % 11 - 5f)];
        float[] b = [.. Enumerable.Range(0, K * N).Select(i => i * 5 % 13 - 6f)], c = new float[M * N];
        for (int i = 0; i < M; i++)
            for (int p = 0; p < K; p++)
                for (int j = 0; j < N; j++) c[i * N + j] += a[i * K + p] * b[p * N + j];
        using Tensor x = device.From(a, [M, K]), w = device.From(b, [K, N]), y = device.Empty([M, N]);
        device.MatMul(x, false, w, false, y);
        Check("MatMul", y.ToArray(), c);
    }

    private void Attention()
    {
        const int Rows = 70, Size = 64;
        // With equal scores a result is a mean of whole numbers, whose sum is exact.
        float[] qkv = new float[Rows * 3 * Size], expected = new float[Rows * Size], sums = new float[Size];
        for (int i = 0; i < Rows; i++)
            for (int d = 0; d < Size; d++)
            {
                sums[d] += qkv[(3 * i + 2) * Size + d] = (i * 7 + d * 5) % 11 - 5f;
                expected[i * Size + d] = sums[d] * (1 / (i + 1f));
            }
        using Tensor x = device.From(qkv, [Rows, 3 * Size]), starts = device.From([0, Rows]);
        using Tensor y = device.Empty([Rows, Size]), lse = device.Empty([1, Rows]);
        device.Attention(x, starts, AttentionLayout.Of(Size, 1), y, lse);
        Check("Attention", y.ToArray(), expected);
    }

    private void Basis()
    {
        foreach (BasisEntries entries in Enum.GetValues<BasisEntries>())
        {
            RandomBasis basis = new(42, 3, 0, 2, 50, 41, entries);
            using Tensor second = device.From([0, 1], [1, 2]), w = device.Empty([1, basis.Size]);
            device.BasisMix(basis, second, w);
            float[] expected = new float[basis.Size];
            basis.Fill(1, expected);
            Check($"BasisMix of {entries} entries", w.ToArray(), expected, exactly: true);
        }
    }

    private void Gradients()
    {
        const int M = 33, K = 40, N = 20;
        float[] x = Whole(M * K, 7, 11), w = Whole(K * N, 5, 13), dy = Whole(M * N, 3, 7), dx = new float[M * K], dw = new float[K * N];
        for (int i = 0; i < M; i++)
            for (int p = 0; p < K; p++)
                for (int j = 0; j < N; j++)
                {
                    dx[i * K + p] += dy[i * N + j] * w[p * N + j];
                    dw[p * N + j] += x[i * K + p] * dy[i * N + j];
                }
        using Tensor input = device.From(x, [M, K]), weight = device.From(w, [K, N]), gradient = device.From(dy, [M, N]);
        using Tensor inputGradient = device.Empty([M, K]), weightGradient = device.Empty([K, N]);
        device.MatMul(gradient, false, weight, true, inputGradient);
        device.MatMul(input, true, gradient, false, weightGradient);
        Check("MatMul a·bᵀ", inputGradient.ToArray(), dx);
        Check("MatMul aᵀ·b", weightGradient.ToArray(), dw);
    }

    // Without queries and keys all scores are zero, and of two tokens the second's weights are halves.
    private void AttentionGradients()
    {
        const int Size = 64;
        float[] qkv = new float[2 * 3 * Size], y = new float[2 * Size], dy = Whole(2 * Size, 7, 11), expected = new float[qkv.Length];
        for (int d = 0; d < Size; d++)
        {
            (float a, float b) = (d % 5 - 2f, d % 3 - 1f);
            (qkv[2 * Size + d], qkv[5 * Size + d]) = (a, b);
            (y[d], y[Size + d]) = (a, (a + b) / 2);
            (expected[2 * Size + d], expected[5 * Size + d]) = (dy[d] + dy[Size + d] / 2, dy[Size + d] / 2);
        }
        using Tensor x = device.From(qkv, [2, 3 * Size]), starts = device.From([0, 2]);
        using Tensor result = device.From(y, [2, Size]), lse = device.From([0, MathF.Log(2)], [1, 2]);
        using Tensor gradient = device.From(dy, [2, Size]), got = device.Empty([2, 3 * Size]);
        device.AttentionGrad(x, starts, AttentionLayout.Of(Size, 1), result, lse, gradient, got);
        // 2 to the power of −log₂ 2, through approximations of both.
        float[] gradients = got.ToArray();
        for (int i = 0; i < gradients.Length; i++)
            if (!(Math.Abs(gradients[i] - expected[i]) <= 4e-6f))
                throw new NolaException($"AttentionGrad: element {i} is {gradients[i]:R} and should be {expected[i]:R}");
    }

    private void CachedAttention()
    {
        const int Size = 64, Past = 3;
        float[] values = Whole((Past + 1) * Size, 7, 11), qkv = new float[3 * Size], expected = new float[Size];
        for (int d = 0; d < Size; d++)
        {
            qkv[2 * Size + d] = values[Past * Size + d];
            for (int row = 0; row <= Past; row++) expected[d] += values[row * Size + d] / (Past + 1);
        }
        using Tensor x = device.From(qkv, [1, 3 * Size]), starts = device.From([0, 1]);
        using Tensor rows = device.From([0, 1, 2, 3]), rowStarts = device.From([0, 4]);
        using Tensor keys = device.Zeros([1, Past + 1, Size]);
        using Tensor cached = device.From([.. values.AsSpan(0, Past * Size), .. new float[Size]], [1, Past + 1, Size]);
        using Tensor y = device.Empty([1, Size]);
        device.AttentionCached(x, starts, rows, rowStarts, AttentionLayout.Of(Size, 1), keys, cached, y);
        Check("AttentionCached", y.ToArray(), expected);
    }

    // Equal elements in many lanes: the first of them ranks first.
    private void Ranking()
    {
        const int Columns = 1003, K = 4;
        float[] x = [.. Enumerable.Range(0, Columns).Select(i => i % 89 == 40 ? 7f : i % 13)];
        int[] expected = [.. Enumerable.Range(0, Columns).OrderByDescending(i => x[i]).Take(K)];
        using Tensor logits = device.From(x, [1, Columns]), values = device.Empty([1, K]), indices = device.Empty([1, K], DType.Int32);
        device.TopK(logits, values, indices);
        int[] got = new int[K];
        device.Download(indices, got);
        Check("TopK", [.. got], [.. expected]);
        Check("TopK", values.ToArray(), [.. expected.Select(i => x[i])]);
    }

    private static float[] Whole(int count, int step, int period) =>
        [.. Enumerable.Range(0, count).Select(i => (float)(i * step % period - period / 2))];

    private void Check(string kernel, float[] got, float[] expected, bool exactly = false)
    {
        if (Compare(kernel, got, expected, exactly) is { } remark) remarks.Add(remark);
    }
}
