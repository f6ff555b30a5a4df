namespace Nola.Tensors;

/// <summary>
/// Whose turn it is to drive a device. Any thread may, but one at a time: a second one that comes while the first is at it is told so,
/// where it would else disturb the first one's work without a word.
/// </summary>
internal sealed class DriverTurn
{
    private int taken;

    /// <summary>Takes the turn; what is given is disposed to give it back.</summary>
    /// <exception cref="InvalidOperationException">It is taken.</exception>
    public Held Take() => Interlocked.Exchange(ref taken, 1) == 0
        ? new Held(this)
        : throw new InvalidOperationException(
            "Two threads use one device at once, or work on it began in work on it; one thread at a time drives a device.");

    /// <summary>A turn that was taken.</summary>
    public readonly ref struct Held(DriverTurn turn)
    {
        /// <summary>Gives it back.</summary>
        public void Dispose() => Volatile.Write(ref turn.taken, 0);
    }
}
