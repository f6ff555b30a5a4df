using System.Buffers.Binary;
using System.Text;

namespace Nola.Train;

/// <summary>What is made of the three calls of an <see cref="ICollective"/>.</summary>
internal static class Collectives
{
    /// <summary>Whether a condition holds on any rank; all learn the same.</summary>
    public static bool Any(this ICollective ranks, bool here)
    {
        if (ranks.Size == 1) return here;
        byte[] all = new byte[ranks.Size];
        ranks.AllGather([here ? (byte)1 : (byte)0], all);
        return all.Contains((byte)1);
    }

    /// <summary>A number summed over all ranks.</summary>
    public static int Sum(this ICollective ranks, int here)
    {
        byte[] own = new byte[4], all = new byte[4 * ranks.Size];
        BinaryPrimitives.WriteInt32LittleEndian(own, here);
        ranks.AllGather(own, all);
        return Enumerable.Range(0, ranks.Size).Sum(r => BinaryPrimitives.ReadInt32LittleEndian(all.AsSpan(4 * r)));
    }

    /// <summary>The bytes of every rank, which may be of different lengths.</summary>
    public static byte[][] Gather(this ICollective ranks, ReadOnlySpan<byte> mine)
    {
        if (ranks.Size == 1) return [mine.ToArray()];
        byte[] lengths = new byte[4 * ranks.Size];
        byte[] length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, mine.Length);
        ranks.AllGather(length, lengths);
        int[] counts = [.. Enumerable.Range(0, ranks.Size).Select(r => BinaryPrimitives.ReadInt32LittleEndian(lengths.AsSpan(4 * r)))];
        // All give as many as the one with the most.
        int most = counts.Max();
        byte[] padded = new byte[most], all = new byte[(long)most * ranks.Size];
        mine.CopyTo(padded);
        ranks.AllGather(padded, all);
        return [.. counts.Select((count, r) => all.AsSpan(most * r, count).ToArray())];
    }

    /// <summary>The text of every rank.</summary>
    public static string[] Gather(this ICollective ranks, string mine) =>
        [.. ranks.Gather(Encoding.UTF8.GetBytes(mine)).Select(Encoding.UTF8.GetString)];

    /// <summary>The text that rank 0 has, on every rank; what others give is not looked at.</summary>
    public static string Share(this ICollective ranks, string mine)
    {
        if (ranks.Size == 1) return mine;
        byte[] text = Encoding.UTF8.GetBytes(mine), length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, text.Length);
        ranks.Broadcast(length);
        if (ranks.Rank > 0) text = new byte[BinaryPrimitives.ReadInt32LittleEndian(length)];
        ranks.Broadcast(text);
        return Encoding.UTF8.GetString(text);
    }

    /// <summary>
    /// Does many pieces of work, each on one of the ranks, in turn: piece i on rank i modulo their number. Every rank gets the results
    /// of all, in order. Canceling any rank ends all.
    /// </summary>
    /// <param name="ranks">Who works.</param>
    /// <param name="count">How many pieces there are.</param>
    /// <param name="work">Does one.</param>
    /// <param name="cancel">Ends it with an <see cref="OperationCanceledException"/>, on every rank.</param>
    public static byte[][] Deal(this ICollective ranks, int count, Func<int, byte[]> work, CancellationToken cancel)
    {
        using MemoryStream mine = new();
        using BinaryWriter writer = new(mine);
        bool stops = false;
        for (int i = ranks.Rank; i < count && !(stops = cancel.IsCancellationRequested); i += ranks.Size)
        {
            byte[] result = work(i);
            writer.Write(result.Length);
            writer.Write(result);
        }
        // A rank that was asked to stop still comes here, where the others wait for it.
        if (ranks.Any(stops)) throw new OperationCanceledException(cancel);
        BinaryReader[] all = [.. ranks.Gather(mine.ToArray()).Select(bytes => new BinaryReader(new MemoryStream(bytes)))];
        return [.. Enumerable.Range(0, count).Select(i => Next(all[i % ranks.Size]))];

        static byte[] Next(BinaryReader reader) => reader.ReadBytes(reader.ReadInt32());
    }
}
