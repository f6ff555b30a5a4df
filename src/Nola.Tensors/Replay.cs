namespace Nola.Tensors;

/// <summary>
/// Calls that are made again and again with the same shapes on the same tensors, such as the pass of a model for one more
/// token of each sequence. A GPU records what they queue and from then on queues all of it at once.
/// </summary>
public class Replay : IDisposable
{
    /// <summary>
    /// Makes the calls, or repeats what they queued when they were made before: the result is the same. The calls must queue
    /// the same work each time; what changes between runs they read from tensors that exist before and after, which must
    /// not be disposed while this is used, and there they leave their result. They neither upload nor wait.
    /// </summary>
    /// <param name="calls">The same in every run.</param>
    public virtual void Run(Action calls) => calls();

    /// <summary>Gives back what was recorded and its memory.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives back what a device keeps.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }
}
