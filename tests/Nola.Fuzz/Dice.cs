using System.Numerics;
using System.Text;

namespace Nola.Fuzz;

/// <summary>
/// The random choices of one input: a pure function of kind, seed and number (SplitMix64), so that any input of any campaign can be
/// made again by itself.
/// </summary>
internal sealed class Dice(ulong state)
{
    private ulong state = state;

    /// <summary>Of one input of a campaign.</summary>
    public static Dice Of(string kind, long seed, long number)
    {
        ulong hash = 14695981039346656037;
        foreach (byte b in Encoding.UTF8.GetBytes(kind)) hash = (hash ^ b) * 1099511628211;
        Dice dice = new(hash ^ BitOperations.RotateLeft((ulong)seed * 0x9E3779B97F4A7C15, 17));
        dice.state ^= (ulong)number * 0xD1B54A32D192ED03;
        dice.Next64();
        return dice;
    }

    /// <summary>64 random bits.</summary>
    public ulong Next64()
    {
        ulong z = state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>0 … <paramref name="end"/> − 1; 0 when there is no such number.</summary>
    public int Next(int end) => end <= 1 ? 0 : (int)Math.BigMul(Next64(), (ulong)end, out _);

    /// <summary>Once in <paramref name="times"/>.</summary>
    public bool Once(int times) => Next(times) == 0;

    /// <summary>One of some.</summary>
    public T Pick<T>(IReadOnlyList<T> from) => from[Next(from.Count)];

    /// <summary>1, half as often 2, half as often again 3, … up to <paramref name="most"/>.</summary>
    public int Few(int most = 6)
    {
        int count = 1;
        while (count < most && Once(2)) count++;
        return count;
    }

    /// <summary>A length: mostly short, now and then up to <paramref name="most"/>.</summary>
    public int Length(int most) => 1 + Next(Math.Max(1, Math.Min(most, 1 << Next(1 + BitOperations.Log2((uint)Math.Max(1, most) + 1)))));

    /// <summary>Random bytes.</summary>
    public byte[] Bytes(int length)
    {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++) bytes[i] = (byte)Next64();
        return bytes;
    }
}
