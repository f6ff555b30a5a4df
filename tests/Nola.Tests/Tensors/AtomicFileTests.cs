using System.Diagnostics;
using System.Globalization;
using System.Text;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Files that are whole or not there, and nothing that killed processes left beside them.</summary>
public sealed class AtomicFileTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    private string Target => Path.Combine(directory, "file.txt");

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Fact]
    public void What_a_killed_process_left_is_removed_by_the_next_write_of_its_target()
    {
        string[] stale = [Left(RunDirectoryTests.GonePid()), Left(int.MaxValue)];
        string[] others =
            [.. ((string[])["file.txt.x.tmp", "file.txt.12.tmp.old", "file2.txt.2147483647.tmp", "file.txt.-1.tmp", "file.txt..tmp"])
                .Select(name => Path.Combine(directory, name))];
        foreach (string file in (string[])[.. stale, .. others]) File.WriteAllText(file, "half");
        AtomicFile.WriteText(Target, "whole");
        Assert.DoesNotContain(stale, File.Exists);
        Assert.All(others, file => Assert.True(File.Exists(file), file));
        Assert.Equal("whole", File.ReadAllText(Target));
    }

    [Fact]
    public void What_a_living_process_writes_is_left_alone_however_old_it_is()
    {
        // Locked as a writer on this machine or on another one has it, whatever its number says.
        foreach (int process in (int[])[int.MaxValue, Environment.ProcessId + 1])
        {
            using (FileStream written = new(Left(process), FileMode.Create, FileAccess.ReadWrite, FileShare.Read))
            {
                File.SetLastWriteTimeUtc(written.SafeFileHandle, DateTime.UtcNow.AddDays(-1));
                AtomicFile.WriteText(Target, "whole");
                Assert.True(File.Exists(Left(process)));
            }
            AtomicFile.WriteText(Target, "whole");
            Assert.False(File.Exists(Left(int.MaxValue)));
        }
    }

    [Fact]
    public void A_file_whose_number_is_another_processs_by_now_goes_when_it_has_settled()
    {
        // Not our own, whose file a write would take for its own: the one that started the tests.
        int process = 1;
        File.WriteAllText(Left(process), "half");
        AtomicFile.RemoveStale(Target);
        if (OperatingSystem.IsLinux()) Assert.True(File.Exists(Left(process)));
        File.SetLastWriteTimeUtc(Left(process), DateTime.UtcNow.AddMinutes(-2));
        AtomicFile.RemoveStale(Target);
        Assert.False(File.Exists(Left(process)));
    }

    [Fact]
    public void Of_two_writes_of_one_target_at_once_each_has_its_own_file_and_the_last_to_end_stays()
    {
        AtomicFile.Write(Target, stream =>
        {
            AtomicFile.WriteText(Target, "second");
            Assert.Equal("second", File.ReadAllText(Target));
            stream.Write("first"u8);
        });
        Assert.Equal("first", File.ReadAllText(Target));
        Assert.Equal([Target], Directory.GetFiles(directory));
        string stale = $"{Target}.{int.MaxValue.ToString(CultureInfo.InvariantCulture)}-1.tmp";
        File.WriteAllText(stale, "half");
        AtomicFile.RemoveStale(Target);
        Assert.False(File.Exists(stale));
    }

    [Fact]
    public async Task Who_reads_a_target_that_is_being_replaced_reads_a_whole_file_and_is_never_refused()
    {
        string[] texts = [new('a', 5000), new('b', 100)];
        AtomicFile.WriteText(Target, texts[0]);
        using CancellationTokenSource written = new();
        Task reading = Task.Run(() =>
        {
            while (!written.IsCancellationRequested)
            {
                Assert.Contains(Encoding.UTF8.GetString(InputFile.ReadAll(Target)), texts);
                // Others' programs open files so.
                if (!OperatingSystem.IsWindows()) Assert.Contains(File.ReadAllText(Target), texts);
            }
        });
        for (int i = 0; i < 500 && !reading.IsCompleted; i++) AtomicFile.WriteText(Target, texts[i % 2]);
        await written.CancelAsync();
        await reading;
    }

    [Fact]
    public void A_full_disk_is_a_sentence_and_leaves_the_old_file()
    {
        AtomicFile.WriteText(Target, "old");
        int code = OperatingSystem.IsWindows() ? unchecked((int)0x80070070) : 28;
        string error = Assert.Throws<NolaException>(() => AtomicFile.Write(Target, stream =>
        {
            stream.Write("ne"u8);
            throw new IOException("No space left on device", code);
        })).Message;
        Assert.Equal($"{Target}: the disk is full; free some space and run the command again. What was there before is unchanged.", error);
        Assert.Equal("old", File.ReadAllText(Target));
        Assert.Equal([Target], Directory.GetFiles(directory));
    }

    [Fact]
    public void A_probe_that_was_left_is_removed_too()
    {
        string probe = Path.Combine(directory, ".probe." + int.MaxValue.ToString(CultureInfo.InvariantCulture));
        File.WriteAllText(probe, "");
        AtomicFile.EnsureDirectory(directory);
        Assert.Empty(Directory.GetFiles(directory));
    }

    private string Left(int process) => $"{Target}.{process.ToString(CultureInfo.InvariantCulture)}.tmp";
}
