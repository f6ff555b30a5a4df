namespace Nola.Tensors;

/// <summary>
/// Something outside the program is wrong (a file, an option, a device): the message is one clear sentence for the
/// person at the keyboard, naming the thing, the condition, and the next step. The command line prints it without a
/// stack trace and exits with a non-zero code.
/// </summary>
public class NolaException : Exception
{
    /// <summary>Creates the error with its sentence.</summary>
    public NolaException(string message) : base(message) { }

    /// <summary>Creates the error with its sentence and the failure behind it.</summary>
    public NolaException(string message, Exception inner) : base(message, inner) { }
}
