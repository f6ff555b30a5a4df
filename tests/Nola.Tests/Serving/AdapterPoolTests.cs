using FsCheck.Xunit;
using Nola.Models;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>Many adapters beside one model.</summary>
public sealed class AdapterPoolTests : IDisposable
{
    private readonly ServingCase place = new();

    public void Dispose() => place.Dispose();

    [Property(MaxTest = 15)]
    public void Adapters_that_are_mixed_together_are_what_each_is_alone_bit_for_bit(int seed)
    {
        Random r = new(seed);
        using AdapterPool pool = new(place.Model, new() { MixedMemory = long.MaxValue });
        string[] files = place.WriteMany(r);
        PooledAdapter[] added = [.. files.Select(file => pool.Add(Path.GetFileName(file), file))];
        int[] ids = TinyModels.Ids(r, 9, 61);
        foreach (PooledAdapter adapter in added) Assert.True(pool.TryReserve(adapter));
        Assert.Empty(pool.Mix());
        for (int i = 0; i < files.Length; i++)
        {
            using LoadedAdapter alone = AdapterFile.Load(files[i], place.Reference);
            Assert.Equal(alone.Digest, added[i].Fingerprint);
            Assert.Equal(place.Reference.Logits(ids, alone), place.Model.Logits(ids, added[i].Held.Mixed));
        }
        Assert.Equal((6, 6L, 0L), (pool.Statistics.Mixed, pool.Statistics.Misses, pool.Statistics.Hits));
    }

    [Fact]
    public void A_NOLA_file_is_what_was_trained_although_it_is_mixed_in_another_way()
    {
        NolaOptions nine = new() { Bases = 9 };
        foreach (NolaOptions options in (NolaOptions[])
            [nine with { PerLayer = true }, nine with { Targets = ["*", "wte"] }, nine with { Variant = NolaVariant.Paper }])
        {
            using TrainableAdapter trained = place.Reference.NewAdapter(options);
            TinyModels.Randomize(trained, new Random(1));
            string file = Path.Combine(place.Directory, "a");
            AdapterFile.Save(trained, file);
            using LoadedAdapter loaded = AdapterFile.Load(file, place.Model);
            Assert.Equal(place.Reference.Logits([1, 2, 3], trained), place.Model.Logits([1, 2, 3], loaded));
        }
    }

    [Fact]
    public void The_least_recently_used_leave_and_pinned_ones_stay()
    {
        NolaOptions options = new() { Rank = 2, Bases = 8 };
        long one = new AdapterPool(place.Model).Add("x", place.Write(options, 0)).MixedBytes;
        using AdapterPool pool = new(place.Model, new() { MixedMemory = 2 * one });
        PooledAdapter[] a = [.. Enumerable.Range(0, 4).Select(i => pool.Add($"a{i}", place.Write(options, i)))];
        a[0].IsPinned = true;
        foreach (int i in (int[])[0, 1, 2, 3, 0, 2])
        {
            Assert.True(pool.TryReserve(a[i]));
            pool.Mix();
            pool.Release(a[i]);
            Assert.InRange(pool.Statistics.MixedBytes, one, 2 * one);
        }
        Assert.Equal([true, false, true, false], a.Select(adapter => adapter.IsMixed));
        Assert.Equal((1L, 5L, 3L), (pool.Statistics.Hits, pool.Statistics.Misses, pool.Statistics.Evictions));
        // Those in use leave no room, but one always has.
        Assert.True(pool.TryReserve(a[0]) && pool.TryReserve(a[2]));
        Assert.False(pool.TryReserve(a[1]));
        pool.Release(a[2]);
        Assert.True(pool.TryReserve(a[1]));
    }

    [Fact]
    public void Equal_contents_are_held_once_and_another_file_under_a_name_is_another_adapter()
    {
        NolaOptions options = new() { Rank = 2, Bases = 8 };
        string first = place.Write(options, 1), second = place.Write(options, 2);
        using AdapterPool pool = new(place.Model);
        PooledAdapter a = pool.Add("a", first), same = pool.Add("b", first);
        Assert.Equal((a.Fingerprint, a.Bytes), (same.Fingerprint, pool.Statistics.Bytes));
        Assert.Same(a.Held, same.Held);
        pool.TryReserve(a);
        pool.Mix();
        PooledAdapter other = pool.Add("a", second);
        Assert.True(pool.TryGet("a", out PooledAdapter? found));
        Assert.Same(other, found);
        Assert.NotEqual(a.Fingerprint, other.Fingerprint);
        Assert.False(other.IsMixed);
        Assert.Equal(["a", "b"], pool.Adapters.Select(adapter => adapter.Name));
        // Who reads with the old one goes on with it.
        Assert.True(pool.Remove("b"));
        Assert.True(a.IsMixed);
        pool.Release(a);
        Assert.False(a.IsMixed);
        Assert.False(pool.Remove("b"));
        Assert.False(pool.TryGet("b", out _));
    }

    [Fact]
    public void Nothing_is_mixed_by_adding_and_what_was_mixed_is_given_back()
    {
        using AdapterPool pool = new(place.Model);
        long before = place.Memory.LiveBytes;
        string[] files = place.WriteMany(new Random(4));
        PooledAdapter[] added = [.. files.Select(file => pool.Add(file, file))];
        Assert.Equal(before, place.Memory.LiveBytes);
        // Coefficients as in the file; 4 bits take an eighth.
        Assert.Equal(added.Sum(adapter => adapter.Bytes), pool.Statistics.Bytes);
        Assert.InRange(added[3].Bytes, 1, new FileInfo(files[3]).Length);
        foreach (PooledAdapter adapter in added) pool.TryReserve(adapter);
        pool.Mix();
        // The pool of memory rounds up by an eighth at most, and to 64 bytes.
        Assert.InRange(place.Memory.LiveBytes - before, pool.Statistics.MixedBytes, pool.Statistics.MixedBytes * 9 / 8 + 20_000);
        pool.Dispose();
        Assert.Equal(before, place.Memory.LiveBytes);
    }

    [Fact]
    public void A_damaged_file_and_one_of_another_base_are_refused_by_name()
    {
        using AdapterPool pool = new(place.Model);
        string good = place.Write(new NolaOptions { Bases = 8 }, 1), bad = Path.Combine(place.Directory, "bad.safetensors");
        byte[] bytes = File.ReadAllBytes(good);
        File.WriteAllBytes(bad, bytes[..^40]);
        Assert.Contains(bad, Assert.Throws<NolaException>(() => pool.Add("bad", bad)).Message);
        using CpuDevice device = new(1);
        using LanguageModel another = TinyModels.Create(device, seed: 4);
        using AdapterPool wrong = new(another);
        Assert.Contains("another one", Assert.Throws<NolaException>(() => wrong.Add("good", good)).Message);
        Assert.Empty(pool.Adapters);
        Assert.Equal("good", pool.Add("good", good).Name);
    }

    [Fact]
    public void A_file_whose_settings_are_those_of_another_is_looked_at_all_the_same()
    {
        using AdapterPool pool = new(place.Model);
        string good = place.Write(new NolaOptions { Bases = 8, Targets = ["attn.q"] }, 1), bad = Path.Combine(place.Directory, "bad");
        pool.Add("good", good);
        IReadOnlyDictionary<string, string> metadata;
        using (Safetensors file = Safetensors.Open(good)) metadata = file.Metadata;
        Assert.Contains("has shape [2, 7]", Refused(("attn.q.A", [2, 7], new float[14]), ("attn.q.B", [2, 8], new float[16])));
        Assert.Contains("attn.q.B", Refused(("attn.q.A", [2, 8], new float[16])));
        Assert.Contains("finite", Refused(("attn.q.A", [2, 8], [.. new float[15], float.NaN]), ("attn.q.B", [2, 8], new float[16])));
        Assert.Equal(["good"], pool.Adapters.Select(adapter => adapter.Name));

        string Refused(params (string Name, Shape Shape, float[] Values)[] tensors)
        {
            SafetensorsWriter.Write(
                bad, tensors.Select(t => new SafetensorsTensor(t.Name, t.Shape, t.Values)), metadata.ToDictionary());
            return Assert.Throws<NolaException>(() => pool.Add("bad", bad)).Message;
        }
    }

    [Fact]
    public void VeRA_with_projections_of_its_own_is_another_adapter_than_with_those_of_its_key()
    {
        string ours = Path.Combine(place.Directory, "peft"), others = Path.Combine(place.Directory, "changed");
        using (TrainableAdapter adapter = place.Reference.NewAdapter(new VeraOptions { Rank = 3, Targets = ["c_attn"] }))
        {
            TinyModels.Randomize(adapter, new Random(1));
            PeftFiles.Save(adapter, ours);
            PeftFiles.Save(adapter, others);
        }
        string weights = Path.Combine(others, "adapter_model.safetensors");
        byte[] bytes = File.ReadAllBytes(weights);
        using (Safetensors file = Safetensors.Open(weights))
        {
            int at = bytes.AsSpan().IndexOf(file.Bytes(file.Get("base_model.vera_A")));
            BitConverter.TryWriteBytes(bytes.AsSpan(at), 0.25f);
        }
        File.WriteAllBytes(weights, bytes);
        using AdapterPool pool = new(place.Model);
        PooledAdapter drawn = pool.Add("drawn", ours), given = pool.Add("given", others);
        Assert.NotEqual(drawn.Fingerprint, given.Fingerprint);
        pool.TryReserve(drawn);
        pool.TryReserve(given);
        pool.Mix();
        using LoadedAdapter alone = AdapterFile.Load(others, place.Reference);
        Assert.Equal(place.Reference.Logits([1, 2], alone), place.Model.Logits([1, 2], given.Held.Mixed));
        Assert.NotEqual(place.Model.Logits([1, 2], drawn.Held.Mixed), place.Model.Logits([1, 2], given.Held.Mixed));
    }
}
