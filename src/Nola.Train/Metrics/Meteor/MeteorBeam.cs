using System.Runtime.CompilerServices;

namespace Nola.Train.Metrics;

/// <summary>
/// The best forty of the paths that go on from those before, best first; of two as good, the one added first. A path is made when
/// it is known to be among them, of one that is not any more.
/// </summary>
internal sealed class MeteorBeam
{
    private const int Size = 40;

    private readonly int outputWords, referenceWords;
    private readonly List<Step> steps = new(Size + 1);
    private readonly Stack<MeteorPath> free = [];
    private List<MeteorPath> paths, next = new(Size);
    private int words;

    /// <summary>A beam of one path.</summary>
    public MeteorBeam(MeteorPath start, int outputWords, int referenceWords)
    {
        (this.outputWords, this.referenceWords) = (outputWords, referenceWords);
        paths = [start];
    }

    /// <summary>The paths, best first.</summary>
    public IReadOnlyList<MeteorPath> Paths => paths;

    /// <summary>Goes on with a path as it is now, or with one match more.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Add(MeteorPath path, MeteorMatch? match, in MeteorProgress progress)
    {
        int place = steps.Count;
        while (place > 0 && progress.IsBetterThan(steps[place - 1].Progress)) place--;
        if (place == Size) return;
        if (steps.Count == Size) steps.RemoveAt(Size - 1);
        steps.Insert(place, new(path, match, progress));
    }

    /// <summary>
    /// Goes behind a word of the reference: makes the paths that were added, and returns how many were to be made. Where none was
    /// added, the best goes on.
    /// </summary>
    public int Advance()
    {
        if (steps.Count == 0) steps.Add(new(paths[0], null, paths[0].Progress));
        int made = 0;
        words++;
        foreach ((MeteorPath path, MeteorMatch? match, MeteorProgress progress) in steps)
        {
            MeteorPath kept = path;
            if (match is not null)
            {
                if (!free.TryPop(out MeteorPath? branch)) branch = new(outputWords, referenceWords);
                branch.Become(path, match);
                (kept, made) = (branch, made + 1);
            }
            (kept.Progress, kept.Words) = (progress, words);
            next.Add(kept);
        }
        foreach (MeteorPath path in paths)
            if (path.Words < words) free.Push(path);
        steps.Clear();
        paths.Clear();
        (paths, next) = (next, paths);
        return made;
    }

    private readonly record struct Step(MeteorPath Path, MeteorMatch? Match, MeteorProgress Progress);
}
