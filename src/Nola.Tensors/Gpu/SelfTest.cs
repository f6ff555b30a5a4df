namespace Nola.Tensors;

/// <summary>
/// A few products with known results, run before a GPU is used: a driver that compiles a kernel wrongly, or a card that
/// counts wrongly, is found in a second and not after a day.
/// </summary>
internal static class SelfTest
{
    /// <summary>Returns when all is well.</summary>
    /// <exception cref="NolaException">Something is not; the message names the kernel, the value and what was expected.</exception>
    public static void Run(Device device)
    {
        Elementwise(device);
        Product(device);
        Attention(device);
        Basis(device);
    }

    private static void Elementwise(Device device)
    {
        float[] values = [.. Enumerable.Range(0, 1003).Select(i => i % 17 - 8f)];
        using Tensor x = device.From(values, [values.Length]), y = device.Empty([values.Length]), sum = device.Empty([]);
        device.Fill(y, 2);
        device.Axpby(3, x, 1, y);
        device.Sum(y, sum);
        Check("Axpby", y.ToArray(), [.. values.Select(v => 3 * v + 2)]);
        Check("Sum", [sum.Item()], [values.Sum(v => 3 * v + 2)]);
    }

    private static void Product(Device device)
    {
        const int M = 70, K = 129, N = 90;
        // Small whole numbers: exact in bfloat16, and their sums exact in float32.
        float[] a = [.. Enumerable.Range(0, M * K).Select(i => i * 7 % 11 - 5f)], b = [.. Enumerable.Range(0, K * N).Select(i => i * 5 % 13 - 6f)], c = new float[M * N];
        for (int i = 0; i < M; i++)
            for (int p = 0; p < K; p++)
                for (int j = 0; j < N; j++) c[i * N + j] += a[i * K + p] * b[p * N + j];
        using Tensor x = device.From(a, [M, K]), w = device.From(b, [K, N]), y = device.Empty([M, N]);
        device.MatMul(x, false, w, false, y);
        Check("MatMul", y.ToArray(), c);
    }

    private static void Attention(Device device)
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
        using Tensor x = device.From(qkv, [Rows, 3 * Size]), starts = device.From([0, Rows]), y = device.Empty([Rows, Size]), lse = device.Empty([1, Rows]);
        device.Attention(x, starts, AttentionLayout.Of(Size, 1), y, lse);
        Check("Attention", y.ToArray(), expected);
    }

    private static void Basis(Device device)
    {
        foreach (BasisEntries entries in Enum.GetValues<BasisEntries>())
        {
            RandomBasis basis = new(42, 3, 0, 2, 50, 41, entries);
            using Tensor second = device.From([0, 1], [1, 2]), w = device.Empty([1, basis.Size]);
            device.BasisMix(basis, second, w);
            float[] expected = new float[basis.Size];
            basis.Fill(1, expected);
            Check($"BasisMix of {entries} entries", w.ToArray(), expected);
        }
    }

    private static void Check(string kernel, float[] got, float[] expected)
    {
        for (int i = 0; i < got.Length; i++)
            if (got[i] != expected[i])
                throw new NolaException($"{kernel}: element {i} is {got[i]} and should be {expected[i]}");
    }
}
