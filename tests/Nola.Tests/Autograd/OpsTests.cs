using Nola.Autograd;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Every operation on the CPU.</summary>
public sealed class OpsTests() : OpsContract(new CpuDevice(2)), IDisposable
{
    public void Dispose() => Device.Dispose();

    [Fact]
    public void Head_and_cross_entropy_over_several_blocks_of_rows()
    {
        Random r = new(3);
        const int P = 70, V = 700_001, C = 3;       // 24 rows of logits exist at once with this vocabulary
        int[] targets = [.. Enumerable.Range(0, P).Select(_ => r.Next(V))];
        float[] x = OpCheck.Values(r, P * C, 1), table = OpCheck.Values(r, V * C, 1);
        using Tensor onDevice = Device.From(targets), rows = Device.From(table, [V, C]), all = Device.From(x, [P, C]);
        using FrozenMatrix head = Device.Freeze(rows, transposed: true);
        using Tensor losses = Device.Empty([P]), dx = Device.Empty([P, C]), one = Device.Empty([1]), dxOne = Device.Empty([1, C]);
        Device.HeadCrossEntropy(all, head, onDevice, 0.1f, losses, dx);
        for (int p = 0; p < P; p += 23)
        {
            using Tensor single = Device.From(x.AsSpan(p * C, C), [1, C]), target = Device.From([targets[p]]);
            Device.HeadCrossEntropy(single, head, target, 0.1f, one, dxOne);
            Assert.Equal(one.Item(), losses.ToArray()[p]);
            Assert.Equal(dxOne.ToArray(), dx.ToArray()[(p * C)..((p + 1) * C)]);
        }
    }

    [Fact]
    public void Deltas_of_a_head_over_several_blocks_of_rows()
    {
        Random r = new(3);
        const int P = 700, V = 13, C = 5, Rank = 2;       // 288 rows of logits or a few more exist at once on the CPU
        (int First, int Count)[] parts = [(3, 400), (403, 290)];
        int[] targets = TinyModels.Ids(r, P, V);
        float[] table = OpCheck.Values(r, V * C, 1);
        using Tensor onDevice = Device.From(targets), rows = Device.From(table, [V, C]);
        using FrozenMatrix head = Device.Freeze(rows, transposed: true);
        OpCheck.Run(
            Device, r, [("x", [P, C], 1), ("A", [1, C, Rank], 1), ("B", [1, Rank, V], 1)],
            (_, x) => Ops.HeadCrossEntropy(
                x[0], head, onDevice, 0.1f, 1f / P, null,
                [.. parts.Select(part => new DeltaRows(new LowRank(x[1], x[2], 0, 2), part.First, part.Count))]),
            x =>
            {
                double[] logits = Reference.MatMul(x[0], Reference.Transpose(OpCheck.Wide(table), V, C), P, C, V);
                double[] low = Reference.MatMul(Reference.MatMul(x[0], x[1], P, C, Rank), x[2], P, Rank, V);
                for (int i = 3 * V; i < 693 * V; i++) logits[i] += 2 * low[i];
                return [Reference.CrossEntropy(logits, targets, V, 0.1).Average()];
            });
    }
}
