using System.Globalization;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>What quantizing an adapter file gave.</summary>
/// <param name="Bits">Bits of a coefficient.</param>
/// <param name="Values">How many coefficients.</param>
/// <param name="BytesBefore">Size of the float32 file.</param>
/// <param name="BytesAfter">Size of the packed file.</param>
/// <param name="LargestError">max|α − step · code|.</param>
/// <param name="RelativeError">‖α − step · code‖ / ‖α‖, over all vectors.</param>
public sealed record QuantizeReport(int Bits, long Values, long BytesBefore, long BytesAfter, double LargestError, double RelativeError);

/// <summary>Quantization of an adapter after training, from file to file; no model is needed.</summary>
public static class AdapterQuantization
{
    /// <summary>
    /// Rounds the coefficients of a file (the factors,
    /// for LoRA) by <see cref="CoefficientQuantizer"/> and writes them packed.
    /// </summary>
    /// <param name="path">A float32 adapter file.</param>
    /// <param name="bits">8, 4, 3 or 2.</param>
    /// <param name="output">The file to write; not one that exists.</param>
    /// <exception cref="NolaException">It is not a float32 adapter file, or the output exists or cannot be written.</exception>
    public static QuantizeReport Quantize(string path, int bits, string output)
    {
        CoefficientQuantizer.Levels(bits);
        AdapterFile.CheckFile(path);
        if (Path.Exists(output)) throw new NolaException($"{output}: exists already; choose another path.");
        using Safetensors file = Safetensors.Open(path);
        CheckFloat(file);
        bool hasHead = new AdapterSettings(file).Options.TrainHead;
        List<SafetensorsTensor> tensors = [];
        Errors errors = new();
        foreach (SafetensorsEntry entry in file.Entries)
        {
            float[] values = file.ReadFinite(entry);
            if (hasHead && HeadStack.IsOf(entry.Name))
            {
                // A head is never rounded.
                tensors.Add(new(entry.Name, Shape.Create([.. entry.Shape.Select(d => (int)d)]), values));
                continue;
            }
            QuantizedTensor quantized = Quantized(file, entry, values, bits);
            errors.Add(values, quantized.Values());
            tensors.AddRange(quantized.Tensors(entry.Name));
        }
        SafetensorsWriter.Write(output, tensors, new Dictionary<string, string>(file.Metadata)
        {
            ["format"] = AdapterFile.QuantizedFormat,
            ["bits"] = bits.ToString(CultureInfo.InvariantCulture),
            ["values"] = errors.Count.ToString(CultureInfo.InvariantCulture),
        });
        return new(bits, errors.Count, InputFile.Length(path), InputFile.Length(output), errors.Largest, errors.Relative);
    }

    private static void CheckFloat(Safetensors file)
    {
        string format = file.Metadata.GetValueOrDefault("format", "");
        if (format == AdapterFile.QuantizedFormat)
            throw new NolaException($"{file.Path}: is quantized to {file.Metadata.GetValueOrDefault("bits")} bits already; "
                + "quantize the float32 file that it came from.");
        if (format != AdapterFile.Format)
            throw new NolaException($"{file.Path}: not an adapter file of Nola (its format is '{format}', not '{AdapterFile.Format}').");
        foreach (SafetensorsEntry entry in file.Entries)
            if ((entry.Shape.Length < 2 && !HeadStack.IsOf(entry.Name)) || entry.Length == 0)
                throw new NolaException($"{file.Path}: '{entry.Name}' has shape [{string.Join(", ", entry.Shape)}]; "
                    + "expected the layers first. The file is damaged.");
    }

    private static QuantizedTensor Quantized(Safetensors file, SafetensorsEntry entry, float[] values, int bits)
    {
        try
        {
            return QuantizedTensor.Of(values, (int)entry.Shape[0], bits);
        }
        catch (NolaException error)
        {
            throw new NolaException($"{file.Path}: tensor '{entry.Name}': {error.Message}", error);
        }
    }

    private sealed class Errors
    {
        private double squares, errors;

        public long Count { get; private set; }

        public double Largest { get; private set; }

        public double Relative => squares > 0 ? Math.Sqrt(errors / squares) : 0;

        public void Add(float[] values, float[] rounded)
        {
            Count += values.Length;
            foreach ((float value, float near) in values.Zip(rounded))
            {
                double error = Math.Abs((double)value - near);
                Largest = Math.Max(Largest, error);
                squares += (double)value * value;
                errors += error * error;
            }
        }
    }
}
