using Nola.Models;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>What is measured: the sizes of a model, and how many tokens its products, its attention and a training step have.</summary>
/// <param name="Size">A published size of GPT-2; the weights are random.</param>
/// <param name="Config">Its numbers.</param>
/// <param name="Tokens">Rows of a product, the edge of the product of two squares, and most tokens of a step.</param>
internal sealed record Workload(string Size, Gpt2Config Config, int Tokens)
{
    /// <summary>r of LoRA and of NOLA, and how many matrices NOLA mixes: on both sides of every comparison.</summary>
    public const int Rank = 8, Bases = 512;

    /// <summary>Sequences of one length that attention is timed on.</summary>
    public const int Sequences = 16;

    /// <summary>The size that the bars are for.</summary>
    public const string StandardSize = "gpt2-medium";

    /// <summary>The tokens that the bars are for.</summary>
    public const int StandardTokens = 8192;

    /// <summary>Tokens of each of <see cref="Sequences"/>.</summary>
    public int Length => Tokens / Sequences;

    /// <summary>Checks what was asked for.</summary>
    /// <exception cref="NolaException">There is no such size, or the tokens are out of range.</exception>
    public static Workload Of(string size, int tokens)
    {
        Gpt2Config config = Gpt2Config.ByName(size)
            ?? throw new NolaException($"--size is '{size}'; expected gpt2, gpt2-medium, gpt2-large or gpt2-xl.");
        if (tokens is < 128 or > 16_384 || tokens % Sequences != 0)
            throw new NolaException($"--tokens is {tokens}; expected a multiple of {Sequences} from 128 to 16384.");
        return new(size, config, tokens);
    }
}
