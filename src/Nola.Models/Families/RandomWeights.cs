using Nola.Tensors;

namespace Nola.Models;

/// <summary>A family's initial values; a pure function of the seed and a weight's name.</summary>
/// <param name="deviation">The deviation of a weight's normal distribution by its name, 0 for a constant, and the mean.</param>
/// <param name="device">Where the weights are put.</param>
/// <param name="seed">Seed of all of them.</param>
internal sealed class RandomWeights(InitialDeviation deviation, Device device, ulong seed) : IWeightSource
{
    public Tensor Read(string name, Shape shape, out WeightDigest? digest)
    {
        Tensor tensor = device.Empty(shape);
        int at = 0;
        Stream(name, shape, Upload, out digest);
        return tensor;

        void Upload(ReadOnlySpan<float> row)
        {
            device.UploadAt(row, tensor, at);
            at += row.Length;
        }
    }

    public void Stream(string name, Shape shape, TakeValues take, out WeightDigest? digest)
    {
        digest = null;
        float[] row = new float[shape.Columns];
        float spread = deviation(name, out float mean);
        // A row is one matrix of the basis.
        RandomBasis rows = new(seed, StreamOf(name), 0, shape.Rows, 1, shape.Columns, BasisEntries.Normal);
        if (spread == 0) row.AsSpan().Fill(mean);
        for (int i = 0; i < shape.Rows; i++)
        {
            if (spread != 0)
            {
                rows.Fill((uint)i, row);
                foreach (ref float value in row.AsSpan()) value *= spread;
            }
            take(row);
        }
    }

    /// <summary>Random values lose nothing by what most checkpoints of such models keep them in.</summary>
    public bool IsBFloat16(string name) => true;

    private static uint StreamOf(string name)
    {
        uint stream = 2166136261;
        foreach (char c in name) stream = (stream ^ c) * 16777619;
        return stream;
    }
}

/// <summary>Standard deviation of a new weight's normal distribution; 0 for a constant of <paramref name="mean"/>.</summary>
internal delegate float InitialDeviation(string name, out float mean);
