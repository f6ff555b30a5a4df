namespace Nola.Tensors;

/// <summary>
/// What has been made so far of something that takes several steps, each of which may fail for want of memory: given back in reverse
/// order when this is disposed, unless <see cref="Commit"/> was called.
/// </summary>
/// <param name="before">What is there already, as the members of a base class.</param>
internal sealed class Rollback(params ReadOnlySpan<IDisposable> before) : IDisposable
{
    private readonly List<IDisposable> made = [.. before];

    /// <summary>Takes note of what has just been made.</summary>
    public T Add<T>(T value) where T : IDisposable
    {
        made.Add(value);
        return value;
    }

    /// <summary>All is made, and is whoever's it is made for.</summary>
    public void Commit() => made.Clear();

    /// <inheritdoc/>
    public void Dispose()
    {
        for (int i = made.Count - 1; i >= 0; i--) made[i].Dispose();
        made.Clear();
    }
}
