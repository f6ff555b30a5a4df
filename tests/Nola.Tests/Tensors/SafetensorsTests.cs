using System.Buffers.Binary;
using System.Text;
using FsCheck.Xunit;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

public sealed class SafetensorsTests : IDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("nola-test").FullName;

    public void Dispose() => Directory.Delete(directory, recursive: true);

    [Property(MaxTest = 30)]
    public void What_is_written_is_read(int seed)
    {
        Random r = new(seed);
        SafetensorsTensor[] tensors = [.. Enumerable.Range(0, r.Next(6)).Select(i =>
        {
            Shape shape = r.Next(4) switch { 0 => [], 1 => [r.Next(5)], 2 => [1 + r.Next(4), r.Next(7)], _ => [2, 1, 3] };
            float[] values = OpCheck.Values(r, shape.Length, 10);
            bool half = r.Next(2) == 0;
            if (half) values = [.. values.Select(v => DTypes.FromBFloat16(DTypes.ToBFloat16(v)))];
            return new SafetensorsTensor($"t.{i}", half ? DType.BFloat16 : DType.Float32, shape, () => values);
        })];
        string path = Path.Combine(directory, "a.safetensors");
        SafetensorsWriter.Write(path, tensors, new Dictionary<string, string> { ["é\"\n"] = "ü" });
        using Safetensors file = Safetensors.Open(path);
        Assert.Equal("ü", file.Metadata["é\"\n"]);
        Assert.Equal(tensors.Length, file.Entries.Count);
        foreach (SafetensorsTensor tensor in tensors)
        {
            SafetensorsEntry entry = file.Get(tensor.Name);
            float[] got = new float[entry.Length];
            file.ReadFloats(entry, got);
            Assert.Equal(tensor.Values(), got);
            Assert.Equal(tensor.Shape.Dimensions().Select(d => (long)d), entry.Shape);
        }
        // The header is padded so that the data begin at a multiple of eight.
        Assert.Equal(0, BinaryPrimitives.ReadInt64LittleEndian(File.ReadAllBytes(path)) % 8);
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, null)]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   """, 8, null)]
    [InlineData("""{}""", 0, null)]
    [InlineData("""{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}""", 4, null)]
    [InlineData("""{"a":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}}""", 0, null)]
    [InlineData(
        """{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}""", 11, null)]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 9, "something behind")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 7, "cut off")]
    [InlineData("""{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "needs 12 bytes")]
    [InlineData("""{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}""", 8, "unknown dtype")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "whole number")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,10]}}""", 10, "whole number")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}""", 8, "too large")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "two data_offsets")]
    [InlineData(
        """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}""", 12, "a hole")]
    [InlineData(
        """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "overlap")]
    [InlineData(
        """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "twice")]
    [InlineData("""{"__metadata__":{"a":1}}""", 0, "not a string")]
    [InlineData("""{"__metadata__":[]}""", 0, "not an object")]
    [InlineData("""[]""", 0, "begin with")]
    [InlineData("""{"a":""", 0, "not valid JSON")]
    public void Each_rule_of_the_format_holds(string header, int data, string? complaint)
    {
        byte[] json = Encoding.UTF8.GetBytes(header);
        string path = WriteRaw((ulong)json.Length, json, data);
        if (complaint is null)
        {
            Safetensors.Open(path).Dispose();
            return;
        }
        NolaException error = Assert.Throws<NolaException>(() => Safetensors.Open(path));
        Assert.Contains(path, error.Message);
        Assert.Contains(complaint, error.Message);
    }

    [Theory]
    [InlineData(100_000_001UL, "above the limit")]
    [InlineData(ulong.MaxValue, "above the limit")]
    [InlineData(1000UL, "and the file has")]
    public void A_header_length_that_cannot_be_is_refused(ulong length, string complaint) =>
        Assert.Contains(
            complaint, Assert.Throws<NolaException>(() => Safetensors.Open(WriteRaw(length, [(byte)'{', (byte)'}'], 0))).Message);

    [Fact]
    public void Files_that_are_no_files_give_a_sentence()
    {
        string path = Path.Combine(directory, "x");
        Assert.Contains("there is no such file", Assert.Throws<NolaException>(() => Safetensors.Open(path)).Message);
        Assert.Contains("is a directory", Assert.Throws<NolaException>(() => Safetensors.Open(directory)).Message);
        File.WriteAllBytes(path, []);
        Assert.Contains("empty", Assert.Throws<NolaException>(() => Safetensors.Open(path)).Message);
        File.WriteAllBytes(path, [1, 2, 3]);
        Assert.Contains("fewer than the 8", Assert.Throws<NolaException>(() => Safetensors.Open(path)).Message);
    }

    [Fact]
    public void A_file_that_is_refused_is_not_kept_in_memory()
    {
        if (!OperatingSystem.IsLinux()) return;
        string path = WriteRaw(1000, [(byte)'{', (byte)'}'], 0);
        for (int i = 0; i < 50; i++) Assert.Throws<NolaException>(() => Safetensors.Open(path));
        Assert.Equal(0, File.ReadLines("/proc/self/maps").Count(line => line.EndsWith(path, StringComparison.Ordinal)));
        // A file that another test has closed since it was listed has no target: null, not an exception.
        Assert.DoesNotContain(path, Directory.GetFiles("/proc/self/fd").Select(fd => new FileInfo(fd).LinkTarget));
    }

    [Property(MaxTest = 150)]
    public void No_changed_byte_does_worse_than_a_sentence(int seed)
    {
        Random r = new(seed);
        byte[] bytes = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "data", "tiny-random-gpt2", "model.safetensors"))[..6000];
        string path = Path.Combine(directory, "mutated");
        for (int i = 1 + r.Next(3); i > 0; i--) bytes[r.Next(r.Next(2) == 0 ? 16 : bytes.Length)] = (byte)r.Next(256);
        File.WriteAllBytes(path, r.Next(2) == 0 ? bytes : bytes[..r.Next(bytes.Length)]);
        Assert.Throws<NolaException>(() => Safetensors.Open(path));       // it is cut off, whatever else it is
    }

    [Fact]
    public void A_write_that_fails_leaves_the_old_file_and_nothing_beside_it()
    {
        string path = Path.Combine(directory, "kept");
        File.WriteAllText(path, "old");
        Assert.Throws<InvalidOperationException>(
            () => AtomicFile.Write(path, s => { s.WriteByte(1); throw new InvalidOperationException(); }));
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFiles(directory));
        Assert.Contains("it is a directory", Assert.Throws<NolaException>(() => AtomicFile.WriteText(directory, "x")).Message);
        Assert.Contains(
            "cannot be written", Assert.Throws<NolaException>(() => AtomicFile.WriteText(Path.Combine(path, "below"), "x")).Message);
    }

    [Fact]
    public void A_full_disk_gives_a_sentence()
    {
        if (!File.Exists("/dev/full")) return;      // Linux only: a device on which every write fails as on a full disk
        IOException full = Assert.Throws<IOException>(() =>
        {
            using FileStream stream = new("/dev/full", FileMode.Open, FileAccess.Write, FileShare.None, 0);
            stream.WriteByte(1);
        });
        Assert.Contains("the disk is full", AtomicFile.Sentence("out", full));
    }

    private string WriteRaw(ulong length, byte[] header, int data)
    {
        string path = Path.Combine(directory, "raw.safetensors");
        byte[] prefix = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, length);
        File.WriteAllBytes(path, [.. prefix, .. header, .. new byte[data]]);
        return path;
    }
}
