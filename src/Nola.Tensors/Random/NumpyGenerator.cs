namespace Nola.Tensors;

/// <summary>
/// NumPy's generator, <c>numpy.random.default_rng(seed)</c>: PCG64 (O'Neill 2014, XSL-RR 128/64), seeded through
/// <c>SeedSequence</c>. Uni-LoRA in Hugging Face PEFT stores a seed in place of its indices; this generates them again, to the last bit.
/// </summary>
internal sealed class NumpyGenerator
{
    private const int Pool = 4;

    // A set of numbers is drawn by Floyd's algorithm up to here, and where it is a small part of the population.
    private const int SmallPopulation = 10_000, SmallPart = 50;

    private static readonly UInt128 multiplier = new(0x2360ED051FC65DA4, 0x4385DF649FCCF645);

    private readonly UInt128 increment;
    private UInt128 state;
    private uint? kept;

    /// <summary>Seeds the generator.</summary>
    public NumpyGenerator(ulong seed)
    {
        ulong[] words = SeedWords(seed);
        increment = (new UInt128(words[2], words[3]) << 1) | 1;
        Step();
        state += new UInt128(words[0], words[1]);
        Step();
    }

    /// <summary>The next 64 bits.</summary>
    public ulong Next()
    {
        Step();
        ulong folded = (ulong)(state >> 64) ^ (ulong)state;
        return ulong.RotateRight(folded, (int)(state >> 122));
    }

    /// <summary>What <c>rng.choice(population, size, replace=False)</c> gives.</summary>
    public int[] Choice(int population, int size)
    {
        if (population > SmallPopulation && size > population / SmallPart)
        {
            int[] all = [.. Enumerable.Range(0, population)];
            for (int i = population - 1; i >= Math.Max(population - size, 1); i--) Swap(all, i, (int)Below((uint)i + 1));
            return all[(population - size)..];
        }
        HashSet<int> seen = [];
        int[] chosen = new int[size];
        for (int last = population - size; last < population; last++)
        {
            int value = (int)Below((uint)last + 1);
            if (!seen.Add(value)) seen.Add(value = last);
            chosen[last - population + size] = value;
        }
        for (int i = size - 1; i > 0; i--) Swap(chosen, i, (int)Below((uint)i + 1));
        return chosen;
    }

    /// <summary>What <c>rng.shuffle(values)</c> does.</summary>
    public void Shuffle(int[] values)
    {
        for (int i = values.Length - 1; i > 0; i--)
        {
            uint mask = uint.MaxValue >> int.LeadingZeroCount(i), at;
            do at = Next32() & mask;
            while (at > i);
            Swap(values, i, (int)at);
        }
    }

    private static void Swap(int[] values, int i, int j) => (values[i], values[j]) = (values[j], values[i]);

    private void Step() => state = state * multiplier + increment;

    // The lower half of 64 bits, then the upper one.
    private uint Next32()
    {
        if (kept is { } half)
        {
            kept = null;
            return half;
        }
        ulong next = Next();
        kept = (uint)(next >> 32);
        return (uint)next;
    }

    // Lemire's method (2019); nothing is drawn for a single possibility.
    private uint Below(uint bound)
    {
        if (bound == 1) return 0;
        ulong product = (ulong)Next32() * bound;
        if ((uint)product < bound)
        {
            uint least = (uint)(0x1_0000_0000 - bound) % bound;
            while ((uint)product < least) product = (ulong)Next32() * bound;
        }
        return (uint)(product >> 32);
    }

    // SeedSequence(seed).generate_state(4, uint64).
    private static ulong[] SeedWords(ulong seed)
    {
        uint[] entropy = [(uint)seed, (uint)(seed >> 32), 0, 0], pool = new uint[Pool];
        uint hash = 0x43B0D7E5;
        for (int i = 0; i < Pool; i++) pool[i] = Hash(entropy[i], ref hash, 0x931E8875);
        for (int from = 0; from < Pool; from++)
            for (int to = 0; to < Pool; to++)
                if (from != to) pool[to] = Mix(pool[to], Hash(pool[from], ref hash, 0x931E8875));
        hash = 0x8B51F9DD;
        uint[] words = [.. Enumerable.Range(0, 8).Select(i => Hash(pool[i % Pool], ref hash, 0x58F38DED))];
        return [.. Enumerable.Range(0, 4).Select(i => words[2 * i] | ((ulong)words[2 * i + 1] << 32))];
    }

    private static uint Hash(uint value, ref uint hash, uint factor)
    {
        value ^= hash;
        hash *= factor;
        value *= hash;
        return value ^ (value >> 16);
    }

    private static uint Mix(uint x, uint y)
    {
        uint mixed = 0xCA01F9DD * x - 0x4973F715 * y;
        return mixed ^ (mixed >> 16);
    }
}
