using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>The best forty paths of those added, best first; of two as good, the one added first.</summary>
internal sealed class MeteorBeam
{
    private const int Size = 40;

    private readonly List<MeteorPath> paths = [];

    public IReadOnlyList<MeteorPath> Paths => paths;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Add(MeteorPath path)
    {
        int place = paths.Count;
        while (place > 0 && path.IsBetterThan(paths[place - 1])) place--;
        if (place == Size) return;
        if (paths.Count == Size) paths.RemoveAt(Size - 1);
        paths.Insert(place, path);
    }
}
