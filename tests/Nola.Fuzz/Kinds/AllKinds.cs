namespace Nola.Fuzz;

/// <summary>Every kind of file that the library reads.</summary>
internal static class AllKinds
{
    /// <summary>Fresh ones, whose examples are not made yet.</summary>
    public static IReadOnlyList<FuzzKind> Create() =>
    [
        new SafetensorsKind(), .. AdapterKind.All(), .. PeftKind.All(), .. ModelKind.All(), new TokenizerKind(), .. OwnTokenizerKind.All(),
        new StateKind(), new RunConfigKind(), new LogKind(), new ExperimentKind(), new ResultKind(),
        .. PairsKind.All(), new TextKind(), new ScoreKind(), new MeteorKind(), new GzipKind(),
    ];
}
