using ILGPU;

namespace Nola.Tensors;

public sealed partial class GpuDevice
{
    private protected override void LayerNormCore(
        Tensor x, Tensor weight, Tensor bias, float epsilon, Tensor y, Tensor mean, Tensor rstd) =>
        Launch(
            LayerNormKernels.Forward, RowsOfWarps(x), Floats(x), Floats(weight),
            Floats(bias), Floats(y), Floats(mean), Floats(rstd), x.Shape.Columns, epsilon);

    private protected override void LayerNormGradCore(
        Tensor x, Tensor weight, Tensor mean, Tensor rstd, Tensor dy, Tensor dx, float beta) =>
        Launch(
            LayerNormKernels.Grad, RowsOfWarps(x), Floats(x), Floats(weight),
            Floats(mean), Floats(rstd), Floats(dy), Floats(dx), x.Shape.Columns, beta);

    private protected override void LayerNormWeightGradCore(
        Tensor x, Tensor mean, Tensor rstd, Tensor dy, Tensor dweight, float betaWeight, Tensor dbias, float betaBias)
    {
        int rows = x.Shape.Rows, columns = x.Shape.Columns, pieces = Blocks.For(rows, ReduceKernels.RowsOfPiece);
        using Tensor weights = Empty([pieces, columns]), biases = Empty([pieces, columns]);
        Launch(LayerNormKernels.WeightGrad, new(Blocks.For(columns, 32), pieces),
            Floats(x), Floats(mean), Floats(rstd), Floats(dy), Floats(weights), Floats(biases), rows, columns);
        SumParts(weights, dweight, 1, betaWeight);
        SumParts(biases, dbias, 1, betaBias);
    }

    // A warp for each row, eight to a block.
    private static Blocks RowsOfWarps(Tensor x) => new(Blocks.For(x.Shape.Rows, 8));
}

/// <summary>One warp a row, read four elements at a time where rows are whole multiples of four.</summary>
internal static class LayerNormKernels
{
    [Kernel(256)]
    public static void Forward(
        ArrayView<float> x, ArrayView<float> weight, ArrayView<float> bias, ArrayView<float> y,
        ArrayView<float> mean, ArrayView<float> rstd, int columns, float epsilon)
    {
        int lane = Group.IdxX & 31, row = Grid.IdxX * 8 + Group.IdxX / 32;
        if (row >= mean.IntLength) return;
        int wide = (columns & 3) == 0 ? columns / 4 : 0, start = row * wide;
        long first = (long)row * columns;
        ArrayView<Float4> x4 = x.Cast<Float4>(), y4 = y.Cast<Float4>(), weight4 = weight.Cast<Float4>(), bias4 = bias.Cast<Float4>();

        float sum = 0;
        int near = lane;
        // Few rows wait for memory alone, so four reads are on their way at once; they are added in their order all the same.
        for (; near + 96 < wide; near += 128)
        {
            Float4 v0 = x4[start + near], v1 = x4[start + near + 32], v2 = x4[start + near + 64], v3 = x4[start + near + 96];
            sum = sum + v0.Sum + v1.Sum + v2.Sum + v3.Sum;
        }
        for (; near < wide; near += 32) sum += x4[start + near].Sum;
        for (int j = 4 * wide + lane; j < columns; j += 32) sum += x[first + j];
        float m = GpuIntrinsics.WarpSum(sum) / columns;

        float squares = 0;
        near = lane;
        for (; near + 96 < wide; near += 128)
        {
            Float4 d0 = x4[start + near] + Float4.All(-m), d1 = x4[start + near + 32] + Float4.All(-m);
            Float4 d2 = x4[start + near + 64] + Float4.All(-m), d3 = x4[start + near + 96] + Float4.All(-m);
            squares = squares + Float4.Dot(d0, d0) + Float4.Dot(d1, d1) + Float4.Dot(d2, d2) + Float4.Dot(d3, d3);
        }
        for (; near < wide; near += 32)
        {
            Float4 d = x4[start + near] + Float4.All(-m);
            squares += Float4.Dot(d, d);
        }
        for (int j = 4 * wide + lane; j < columns; j += 32) squares += (x[first + j] - m) * (x[first + j] - m);
        float r = 1 / GpuIntrinsics.Sqrt(GpuIntrinsics.WarpSum(squares) / columns + epsilon);

        for (int j = lane; j < wide; j += 32) y4[start + j] = (x4[start + j] + Float4.All(-m)) * r * weight4[j] + bias4[j];
        for (int j = 4 * wide + lane; j < columns; j += 32) y[first + j] = (x[first + j] - m) * r * weight[j] + bias[j];
        if (lane != 0) return;
        mean[row] = m;
        rstd[row] = r;
    }

    [Kernel(256)]
    public static void Grad(
        ArrayView<float> x, ArrayView<float> weight, ArrayView<float> mean,
        ArrayView<float> rstd, ArrayView<float> dy, ArrayView<float> dx, int columns, float beta)
    {
        int lane = Group.IdxX & 31, row = Grid.IdxX * 8 + Group.IdxX / 32;
        if (row >= mean.IntLength) return;
        int wide = (columns & 3) == 0 ? columns / 4 : 0, start = row * wide;
        long first = (long)row * columns;
        ArrayView<Float4> x4 = x.Cast<Float4>(), dy4 = dy.Cast<Float4>(), dx4 = dx.Cast<Float4>(), weight4 = weight.Cast<Float4>();
        float m = mean[row], r = rstd[row];

        float sumG = 0, sumGx = 0;
        for (int j = lane; j < wide; j += 32)
        {
            Float4 g = dy4[start + j] * weight4[j];
            sumG += g.Sum;
            sumGx += Float4.Dot(g, (x4[start + j] + Float4.All(-m)) * r);
        }
        for (int j = 4 * wide + lane; j < columns; j += 32)
        {
            float g = dy[first + j] * weight[j];
            sumG += g;
            sumGx += g * ((x[first + j] - m) * r);
        }
        float meanG = GpuIntrinsics.WarpSum(sumG) / columns, meanGx = GpuIntrinsics.WarpSum(sumGx) / columns;

        for (int j = lane; j < wide; j += 32)
        {
            Float4 hat = (x4[start + j] + Float4.All(-m)) * r;
            Float4 d = (dy4[start + j] * weight4[j] + Float4.All(-meanG) + hat * -meanGx) * r;
            if (beta != 0) d += dx4[start + j];
            dx4[start + j] = d;
        }
        for (int j = 4 * wide + lane; j < columns; j += 32)
        {
            float d = r * (dy[first + j] * weight[j] - meanG - (x[first + j] - m) * r * meanGx);
            if (beta != 0) d += dx[first + j];
            dx[first + j] = d;
        }
    }

    /// <summary>Sums of dy · x̂ and of dy over the rows of a piece; a block has 32 columns and 8 rows at a time.</summary>
    [Kernel(256)]
    public static void WeightGrad(
        ArrayView<float> x, ArrayView<float> mean, ArrayView<float> rstd, ArrayView<float> dy,
        ArrayView<float> weights, ArrayView<float> biases, int rows, int columns)
    {
        ArrayView<float> sharedW = SharedMemory.Allocate<float>(256), sharedB = SharedMemory.Allocate<float>(256);
        int lane = Group.IdxX & 31, warp = Group.IdxX / 32, j = Grid.IdxX * 32 + lane;
        int end = IntrinsicMath.Min(rows, (Grid.IdxY + 1) * ReduceKernels.RowsOfPiece);
        float w = 0, b = 0;
        if (j < columns)
        {
            for (int i = Grid.IdxY * ReduceKernels.RowsOfPiece + warp; i < end; i += 8)
            {
                float g = dy[(long)i * columns + j];
                w += g * ((x[(long)i * columns + j] - mean[i]) * rstd[i]);
                b += g;
            }
        }
        sharedW[Group.IdxX] = w;
        sharedB[Group.IdxX] = b;
        Group.Barrier();
        if (warp != 0 || j >= columns) return;
        weights[Grid.IdxY * columns + j] = ReduceKernels.EightRows(sharedW, lane);
        biases[Grid.IdxY * columns + j] = ReduceKernels.EightRows(sharedB, lane);
    }
}
