namespace Nola.Tensors;

/// <summary>Turns what is queued on a device's stream into a graph that can be launched as one.</summary>
internal abstract class GraphRecorder
{
    /// <summary>From here on, what is queued is recorded and does not run.</summary>
    /// <exception cref="NolaException">It cannot be recorded; the message says why.</exception>
    public abstract void Begin();

    /// <summary>What was queued since <see cref="Begin"/>.</summary>
    /// <exception cref="NolaException">Something in between could not be recorded; the message says why.</exception>
    public abstract LaunchGraph End();

    /// <summary>Ends a recording that is of no use.</summary>
    public abstract void Abandon();
}

/// <summary>Recorded launches. Their arguments are as they were, addresses included.</summary>
internal abstract class LaunchGraph : IDisposable
{
    /// <summary>Queues all of them.</summary>
    /// <exception cref="NolaException">They cannot be launched; the message says why.</exception>
    public abstract void Launch();

    /// <inheritdoc/>
    public abstract void Dispose();
}
