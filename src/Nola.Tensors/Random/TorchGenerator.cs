namespace Nola.Tensors;

/// <summary>
/// PyTorch's generator on the CPU, <c>torch.Generator("cpu").manual_seed(key)</c>: the Mersenne twister MT19937 (Matsumoto and
/// Nishimura 1998), seeded by <c>init_genrand</c> with the key's low 32 bits. Some adapter methods of Hugging Face PEFT store a key
/// in place of their frozen projections; this generates them again, to the last bit.
/// </summary>
internal sealed class TorchGenerator
{
    private const int Words = 624, Middle = 397;

    private readonly uint[] state = new uint[Words];
    private int next = Words;

    /// <summary>Seeds the generator.</summary>
    public TorchGenerator(ulong key)
    {
        state[0] = (uint)key;
        for (uint i = 1; i < Words; i++) state[i] = 1812433253 * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
    }

    /// <summary>The next 32 bits.</summary>
    public uint Next()
    {
        if (next == Words) Twist();
        uint word = state[next++];
        word ^= word >> 11;
        word ^= (word << 7) & 0x9D2C5680;
        word ^= (word << 15) & 0xEFC60000;
        return word ^ (word >> 18);
    }

    /// <summary>
    /// What <c>tensor.uniform_(-bound, bound, generator)</c> writes: 24 bits of each word as a float in [0, 1), times 2 · bound and
    /// rounded, minus bound and rounded, without a fused multiply-add.
    /// </summary>
    public void Uniform(Span<float> values, float bound)
    {
        float width = bound - -bound;
        foreach (ref float value in values)
        {
            float product = (Next() & 0xFFFFFF) * (1f / (1 << 24)) * width;
            value = product + -bound;
        }
    }

    /// <summary>
    /// The same of a bfloat16 tensor: 8 bits of each word as a number in [0, 1), times twice the bound plus its negative, rounded to
    /// bfloat16; the bound itself is rounded to bfloat16 first.
    /// </summary>
    public void UniformBFloat16(Span<float> values, double bound)
    {
        float high = RoundedToBFloat16((float)bound), width = high - -high;
        foreach (ref float value in values)
        {
            float product = (Next() & 0xFF) * (1f / (1 << 8)) * width;
            value = RoundedToBFloat16(product + -high);
        }

        static float RoundedToBFloat16(float value) => DTypes.FromBFloat16(DTypes.ToBFloat16(value));
    }

    /// <summary>
    /// The first entries of <c>torch.randperm(length, generator)</c>: each is exchanged with one of itself and those behind it, which a
    /// word modulo their number chooses. Only places that were exchanged are held.
    /// </summary>
    /// <param name="length">How many numbers from 0 are put in another order.</param>
    /// <param name="count">How many of them are asked for; at most all.</param>
    public long[] Permutation(long length, int count)
    {
        Dictionary<long, long> moved = [];
        long[] first = new long[count];
        for (long i = 0; i < count; i++)
        {
            // The last one has nothing left to be exchanged with, and PyTorch draws no word for it.
            long other = i < length - 1 ? i + Next() % (length - i) : i;
            first[i] = moved.GetValueOrDefault(other, other);
            moved[other] = moved.GetValueOrDefault(i, i);
        }
        return first;
    }

    private void Twist()
    {
        for (int i = 0; i < Words; i++)
        {
            uint both = (state[i] & 0x80000000) | (state[(i + 1) % Words] & 0x7FFFFFFF);
            state[i] = state[(i + Middle) % Words] ^ (both >> 1) ^ ((both & 1) == 0 ? 0 : 0x9908B0DF);
        }
        next = 0;
    }
}
