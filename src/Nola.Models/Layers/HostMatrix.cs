namespace Nola.Models;

/// <summary>Row-major matrices on the host.</summary>
internal static class HostMatrix
{
    /// <summary>The transpose. values: (rows, columns).</summary>
    public static float[] Transpose(float[] values, int rows, int columns)
    {
        float[] result = new float[values.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                result[j * rows + i] = values[i * columns + j];
        return result;
    }
}
