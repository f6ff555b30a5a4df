namespace Nola.Models;

/// <summary>
/// Calls a scan of a directory soon after something in it has changed, and from time to time where changes are not told, as on disks
/// that others write to.
/// </summary>
internal sealed class DirectoryWatch : IDisposable
{
    // Several files that come together are read by one scan.
    private static readonly TimeSpan settling = TimeSpan.FromMilliseconds(100), patience = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan impatience = TimeSpan.FromSeconds(2);

    private readonly CancellationTokenSource stop = new();
    private readonly SemaphoreSlim changed = new(0, 1);
    private readonly FileSystemWatcher? watcher;
    private readonly Task work;

    /// <summary>Begins to watch.</summary>
    /// <param name="directory">The directory.</param>
    /// <param name="scan">What is to be done; told when it is to stop.</param>
    public DirectoryWatch(string directory, Action<CancellationToken> scan)
    {
        watcher = Create(directory);
        work = Task.Run(() => RunAsync(scan));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        watcher?.Dispose();
        stop.Cancel();
        work.Wait();
        stop.Dispose();
        changed.Dispose();
    }

    // Null where the system has no watcher to give: then the directory is looked at more often.
    private FileSystemWatcher? Create(string directory)
    {
        FileSystemWatcher? created = null;
        try
        {
            created = new(directory)
            {
                IncludeSubdirectories = true,
                NotifyFilter = NotifyFilters.FileName | NotifyFilters.DirectoryName | NotifyFilters.LastWrite | NotifyFilters.Size,
            };
            created.Changed += (_, _) => Signal();
            created.Created += (_, _) => Signal();
            created.Deleted += (_, _) => Signal();
            created.Renamed += (_, _) => Signal();
            created.Error += (_, _) => Signal();
            created.EnableRaisingEvents = true;
            return created;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or PlatformNotSupportedException)
        {
            created?.Dispose();
            return null;
        }
    }

    private void Signal()
    {
        try
        {
            if (changed.CurrentCount == 0) changed.Release();
        }
        catch (Exception error) when (error is SemaphoreFullException or ObjectDisposedException)
        {
            // Somebody else has just said so, or nobody listens any more.
        }
    }

    private async Task RunAsync(Action<CancellationToken> scan)
    {
        try
        {
            while (true)
            {
                await changed.WaitAsync(watcher is null ? impatience : patience, stop.Token).ConfigureAwait(false);
                await Task.Delay(settling, stop.Token).ConfigureAwait(false);
                scan(stop.Token);
            }
        }
        catch (OperationCanceledException)
        {
        }
    }
}
