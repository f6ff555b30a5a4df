using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>Attention of one layer: from fused queries, keys and values (N, (H + 2G) · D) to (N, H · D).</summary>
/// <param name="layer">Number of the block, from 0.</param>
/// <param name="qkv">q | k | v of every token.</param>
public delegate Variable Attend(int layer, Variable qkv);

/// <summary>The sizes of a language model that training and decoding need.</summary>
/// <param name="Layers">Number of blocks.</param>
/// <param name="Channels">Width of the residual stream, C.</param>
/// <param name="Vocabulary">Number of tokens, V.</param>
/// <param name="Positions">Most tokens of a sequence.</param>
/// <param name="Attention">How queries, keys and values lie side by side, and what sees what.</param>
public sealed record LanguageShape(int Layers, int Channels, int Vocabulary, int Positions, AttentionLayout Attention);

/// <summary>
/// What a family of language models is: the way from tokens to hidden states, and the head. A family builds it from the parts
/// that its <see cref="ModelBuilder"/> makes, and says nothing of adapters, decoding or tokenizers.
/// </summary>
public interface ILanguageNetwork
{
    /// <summary>What makes logits of hidden states.</summary>
    TokenHead Head { get; }

    /// <summary>The residual stream after the last norm. (N, C)</summary>
    /// <param name="tape">The step.</param>
    /// <param name="batch">The token stream.</param>
    /// <param name="attend">Attention within each sequence, or to what a cache holds.</param>
    Variable Hidden(Tape tape, StreamTensors batch, Attend attend);
}
