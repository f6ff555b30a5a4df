using Nola.Autograd;
using Nola.Tensors;

namespace Nola.Models;

/// <summary>What adapters and training need of a model, whatever it computes.</summary>
public interface IModel : IDisposable
{
    /// <summary>Where the weights are.</summary>
    Device Device { get; }

    /// <summary>Whether the weights get gradients.</summary>
    bool Trainable { get; }

    /// <summary>The name or directory that it was loaded from, for messages and files.</summary>
    string Source { get; }

    /// <summary>A digest of the configuration and of every value of every weight as it is now.</summary>
    string Identity { get; }

    /// <summary>The linear maps that an adapter can be on, block by block.</summary>
    IReadOnlyList<AdaptableMap> AdaptableMaps { get; }

    /// <summary>Every layer that an adapter may add something to, in the checkpoint's order.</summary>
    IReadOnlyList<AdaptableLayer> AdaptableLayers { get; }

    /// <summary>Every weight as a parameter: all of them when the model is trainable, else only the small ones.</summary>
    IReadOnlyList<Parameter> Parameters { get; }

    /// <summary>The identity that adapter files of earlier versions name the model by (docs/adapter-file.md).</summary>
    internal string SampledIdentity { get; }

    /// <summary>What the checkpoint puts before the names of all modules, for example <c>transformer.</c>.</summary>
    internal string Prefix { get; }

    /// <summary>The checkpoint's name of every module with a weight, without the prefix: maps, norms, tables.</summary>
    internal IEnumerable<string> Modules { get; }

    /// <summary>
    /// What an adapter may have one of its own of: the classifiers of an image model, the head of a language model. The names of their
    /// layers are the checkpoint's.
    /// </summary>
    internal IReadOnlyList<AdaptableLayer> Heads { get; }

    /// <summary>What the classes are called; none in a language model.</summary>
    internal IReadOnlyList<string> Labels => [];

    /// <summary>scale · Σ of the losses at the stream's loss positions, a scalar on the tape.</summary>
    /// <param name="tape">The step.</param>
    /// <param name="batch">The token stream, whose sequences may name adapters.</param>
    /// <param name="labelSmoothing">ε over all classes.</param>
    /// <param name="scale">For example 1 / number of loss positions in the whole optimizer step.</param>
    /// <param name="losses">Receives the loss of each position when given. (P)</param>
    Variable Loss(Tape tape, StreamTensors batch, float labelSmoothing, float scale, Tensor? losses = null);

    /// <summary>Writes configuration and weights into a directory, in the layout that Hugging Face reads.</summary>
    /// <param name="directory">Made if it does not exist.</param>
    /// <param name="type">Float32, or BFloat16 for half the size.</param>
    /// <exception cref="NolaException">The files cannot be written.</exception>
    void Save(string directory, DType type = DType.Float32);
}
