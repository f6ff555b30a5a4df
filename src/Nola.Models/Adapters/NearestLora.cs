using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>The LoRA of a rank that is nearest to what an adapter of any method adds to the weights of its maps.</summary>
internal sealed class NearestLora
{
    private readonly Adapter adapter;
    private readonly int rank;
    private double missed, whole;

    /// <summary>Finds it.</summary>
    /// <param name="adapter">The adapter.</param>
    /// <param name="rank">The rank on each adapted map, from 1.</param>
    /// <exception cref="NolaException">The adapter changes more than weights of blocks, or the rank is none.</exception>
    public NearestLora(Adapter adapter, int rank)
    {
        (this.adapter, this.rank) = (adapter, rank);
        string title = adapter.Options.Method.Title;
        if (rank is < 1 or > AdapterMethod.LargestRank)
            throw new NolaException($"PeftFiles.SaveNearest: rank is {rank}; expected 1 to {AdapterMethod.LargestRank}.");
        if (adapter.Stacks.FirstOrDefault(stack => stack is not (MapStack or HeadStack) && stack.Layers.Count > 0) is { } other)
            throw Refused($"what a {title} adapter adds to {other.Layers[0].Name} is not in its weight");
        if (adapter.Groups.Select(group => group.Maps[0]).FirstOrDefault(map => !map.IsInBlock) is { } outside)
            throw Refused($"{outside.Name} is a table of tokens, and no linear map of a block");
        Written = PeftLora.WritePlain(adapter, stack => row => Nearest(stack, row));
    }

    /// <summary>In PEFT's form.</summary>
    public PeftWritten Written { get; }

    /// <summary>The Frobenius norm of what is missed, over that of what is added; 0 where nothing is added.</summary>
    public double Error => whole == 0 ? 0 : Math.Sqrt(missed / whole);

    private LowRankFactors Nearest(MapStack stack, int row)
    {
        AdaptableMap map = stack.Group.Maps[row];
        float[] sum = Sum(stack, row);
        // Of more directions than a side is long, the others are nothing.
        int found = Math.Min(rank, Math.Min(map.In, map.Out));
        (float[] left, float[] right) = TruncatedSvd.Of(sum, map.In, map.Out, found);
        AddUp(sum, left, right, map.Out, found);
        float[] a = new float[map.In * rank], b = new float[rank * map.Out];
        for (int i = 0; i < map.In; i++) left.AsSpan(i * found, found).CopyTo(a.AsSpan(i * rank));
        right.CopyTo(b, 0);
        return new(a, b, rank, rank);
    }

    // What the adapter adds to a map's weight. (in, out)
    private float[] Sum(MapStack stack, int row)
    {
        AdaptableMap map = stack.Group.Maps[row];
        LinearMap host = (LinearMap)map.Host;
        Device device = adapter.Model.Device;
        using Tensor before = host.CopyWeight(), after = host.CopyWeight();
        using Tensor? bias = host.Bias is null ? null : device.From(host.Bias.Value.ToArray(), host.Bias.Shape);
        using Tape tape = new(device, record: false);
        foreach (Delta delta in stack.On(tape, row))
        {
            if (!delta.ReadsInput) throw Refused($"what is added to {map.Name} is a bias");
            delta.AddTo(device, after, bias);
        }
        if (bias is not null && !bias.ToArray().AsSpan().SequenceEqual(host.Bias!.Value.ToArray()))
            throw Refused($"the bias of {map.Name} is changed too");
        device.Axpby(-1, before, 1, after);
        float[] all = after.ToArray(), own = new float[map.In * map.Out];
        for (int i = 0; i < map.In; i++) all.AsSpan(i * host.Out + map.Column, map.Out).CopyTo(own.AsSpan(i * map.Out));
        return own;
    }

    private void AddUp(float[] sum, float[] left, float[] right, int outputs, int found)
    {
        double[] row = new double[outputs];
        for (int i = 0; i < sum.Length / outputs; i++)
        {
            for (int o = 0; o < outputs; o++) row[o] = sum[i * outputs + o];
            foreach (double value in row) whole += value * value;
            for (int j = 0; j < found; j++)
            {
                double factor = left[i * found + j];
                for (int o = 0; o < outputs; o++) row[o] -= factor * right[j * outputs + o];
            }
            foreach (double value in row) missed += value * value;
        }
    }

    private static NolaException Refused(string why) => new($"PeftFiles.SaveNearest: {why}, so that no LoRA is near to it.");
}
