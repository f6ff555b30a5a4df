using System.Runtime.ExceptionServices;
using Nola.Tensors;

namespace Nola.Train.Metrics;

/// <summary>Values that are computed side by side; a refusal is that of a plain loop, the first in order.</summary>
internal static class SideBySide
{
    /// <summary>The value of each index below <paramref name="count"/>.</summary>
    public static T[] Of<T>(int count, Func<int, T> value)
    {
        T[] values = new T[count];
        SortedDictionary<int, NolaException> refusals = [];
        Parallel.For(0, count, (i, loop) =>
        {
            try
            {
                values[i] = value(i);
            }
            catch (NolaException error)
            {
                lock (refusals) refusals[i] = error;
                // Those before it are still computed.
                loop.Break();
            }
        });
        if (refusals.Count > 0) ExceptionDispatchInfo.Throw(refusals.First().Value);
        return values;
    }
}
