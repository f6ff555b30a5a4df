using Nola.Tensors;

namespace Nola.Models;

/// <summary>A family's initial values; a pure function of the seed and a weight's name.</summary>
internal sealed class RandomWeights(ModelConfig config, Device device, ulong seed) : IWeightSource
{
    public Tensor Read(string name, Shape shape, out WeightDigest? digest)
    {
        digest = null;
        Tensor tensor = device.Empty(shape);
        float deviation = config.Deviation(name, out float mean);
        if (deviation == 0) device.Fill(tensor, mean);
        else Normal(name, tensor, deviation);
        return tensor;
    }

    private void Normal(string name, Tensor tensor, float deviation)
    {
        uint stream = 2166136261;
        foreach (char c in name) stream = (stream ^ c) * 16777619;
        // A row is one matrix of the basis.
        Shape shape = tensor.Shape;
        RandomBasis rows = new(seed, stream, 0, shape.Rows, 1, shape.Columns, BasisEntries.Normal);
        float[] row = new float[shape.Columns];
        for (int i = 0; i < shape.Rows; i++)
        {
            rows.Fill((uint)i, row);
            foreach (ref float value in row.AsSpan()) value *= deviation;
            device.UploadAt(row, tensor, i * row.Length);
        }
    }
}
