using System.Runtime.InteropServices;

namespace Nola.Cli;

/// <summary>
/// Ctrl-C, SIGTERM, and SIGUSR1, which batch systems send ahead of a job's end. A command is asked to stop, and the process ends a
/// moment later whether it did or not, since a command that reads a large file or waits for one does not look. Only what is
/// <see cref="Held"/>, a training run or a server, is given the time that it needs for its step and its checkpoint, or for what it is
/// answering; a second signal ends that too.
/// </summary>
internal static class Signals
{
    /// <summary>What a run that leaves a checkpoint says at a signal.</summary>
    public const string Checkpoint = "Stopping after this step, with a checkpoint. Press again to stop at once, without one.";

    // For a command that can stop by itself to say so in its own way.
    private static readonly TimeSpan grace = TimeSpan.FromSeconds(1);

    // On Linux and macOS; by default it kills a process that writes beyond a limit of a file's size, in place of failing the write.
    private const PosixSignal FileSizeLimit = (PosixSignal)25;

    private static readonly PosixSignal user = (PosixSignal)(OperatingSystem.IsMacOS() ? 30 : 10);

    private static readonly Lock door = new();
    private static readonly CancellationTokenSource stop = new();
    private static readonly List<PosixSignalRegistration> registrations = [];
    private static int held, received;
    private static bool everHeld;
    private static string heldFor = "";

    /// <summary>Canceled with the first signal.</summary>
    public static CancellationToken Stop => stop.Token;

    /// <summary>The exit code of a process that a signal ended, as a shell has it: 128 and the signal's number; 0 without one.</summary>
    public static int ExitCode => Volatile.Read(ref received);

    /// <summary>
    /// The exit code of a command that ended by itself with <paramref name="code"/>. One that was asked to stop has not done all of its
    /// work, even where it said nothing; a run that was done with its last step has.
    /// </summary>
    public static int After(int code) => code == 0 && !everHeld ? ExitCode : code;

    /// <summary>Begins to listen.</summary>
    public static void Listen()
    {
        registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGINT, context => On(context, 130)));
        registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => On(context, 143)));
        if (OperatingSystem.IsWindows()) return;
        registrations.Add(PosixSignalRegistration.Create(user, context => On(context, 128 + (int)user)));
        registrations.Add(PosixSignalRegistration.Create(FileSizeLimit, context => context.Cancel = true));
    }

    /// <summary>A section that a signal waits for; it must look at <see cref="Stop"/>.</summary>
    /// <param name="says">What the user is told at the signal: what is waited for, and that another one ends that too.</param>
    /// <exception cref="OperationCanceledException">There was a signal already.</exception>
    public static IDisposable Held(string says)
    {
        lock (door)
        {
            if (received != 0) throw new OperationCanceledException();
            held++;
            (everHeld, heldFor) = (true, says);
        }
        return new Section();
    }

    private static void On(PosixSignalContext context, int code)
    {
        context.Cancel = true;
        bool first;
        lock (door)
        {
            first = received == 0;
            if (first) received = code;
            if (first && held > 0) Terminal.Say(heldFor);
        }
        if (!first) End();
        // What listens to the token must not keep the next signal from being heard.
        Task.Run(stop.Cancel);
        _ = EndLater();
    }

    private static async Task EndLater()
    {
        await Task.Delay(grace).ConfigureAwait(false);
        lock (door)
            if (held > 0) return;
        Terminal.Say("nola: interrupted.");
        End();
    }

    // Without waiting for anybody: another thread may be in the middle of a read that never ends.
    private static void End()
    {
        // A progress bar hides the cursor.
        if (!Console.IsErrorRedirected) Console.Error.Write("\e[?25h");
        Environment.Exit(ExitCode);
    }

    private sealed class Section : IDisposable
    {
        public void Dispose()
        {
            lock (door) held--;
        }
    }
}
