namespace Nola.Fuzz;

/// <summary>One kind of file that the library reads: whole examples, ways to damage them, and what reads them.</summary>
/// <param name="name">What it is called on the command line and in reports.</param>
/// <param name="weight">How many of a campaign's inputs are of this kind, for one of the others.</param>
internal abstract class FuzzKind(string name, int weight = 1)
{
    /// <summary>What it is called.</summary>
    public string Name { get; } = name;

    /// <summary>How many inputs are of this kind, for one of the others.</summary>
    public int Weight { get; } = weight;

    /// <summary>Makes the whole examples; the same each time.</summary>
    public abstract void Prepare(Bench bench);

    /// <summary>Makes an input.</summary>
    public abstract FuzzInput Make(Dice dice);

    /// <summary>Reads the input as the library's users do. Says with <see cref="Bench.Accepted"/> when the files have been read.</summary>
    /// <param name="bench">What to work with.</param>
    /// <param name="directory">Where the input's files are.</param>
    /// <param name="dice">Choices beside the input.</param>
    /// <exception cref="Nola.Tensors.NolaException">The input is refused.</exception>
    /// <exception cref="FuzzException">It was accepted, and what came of it is wrong.</exception>
    public abstract void Run(Bench bench, string directory, Dice dice);
}

/// <summary>What a reader accepted is not what was in the file.</summary>
internal sealed class FuzzException(string message) : Exception(message);

/// <summary>A kind whose examples are sets of files, of which one or two are damaged.</summary>
/// <param name="name">What it is called.</param>
/// <param name="weight">How many of a campaign's inputs are of this kind.</param>
internal abstract class FilesKind(string name, int weight = 1) : FuzzKind(name, weight)
{
    private readonly List<(string Name, Mutation? Mutation, byte[] Bytes)[]> examples = [];

    /// <inheritdoc/>
    public override FuzzInput Make(Dice dice)
    {
        (string Name, Mutation? Mutation, byte[] Bytes)[] example = dice.Pick(examples);
        if (dice.Once(50)) return new([.. example.Select(file => (file.Name, file.Bytes))], true);
        int[] changeable = [.. Enumerable.Range(0, example.Length).Where(i => example[i].Mutation is not null)];
        int first = dice.Pick(changeable), second = dice.Once(4) ? dice.Pick(changeable) : first;
        List<(string Name, byte[] Bytes)> files = [];
        for (int i = 0; i < example.Length; i++)
        {
            bool damaged = i == first || i == second;
            // A file that is missing is a kind of damage too.
            if (damaged && dice.Once(60)) continue;
            files.Add((example[i].Name, damaged ? Damaged(example[i], dice) : example[i].Bytes));
        }
        return new(files, false);
    }

    /// <summary>Adds an example. A file without a mutation is never damaged.</summary>
    protected void Add(params (string Name, Mutation? Mutation, byte[] Bytes)[] files) => examples.Add(files);

    /// <summary>Adds an example of one text file.</summary>
    protected void AddText(string name, Mutation mutation, string text) => Add((name, mutation, System.Text.Encoding.UTF8.GetBytes(text)));

    private byte[] Damaged((string Name, Mutation? Mutation, byte[] Bytes) file, Dice dice)
    {
        byte[][] others = [.. examples.SelectMany(e => e).Where(f => f.Name == file.Name).Select(f => f.Bytes)];
        return dice.Next(4) == 0 ? ByteMutator.Mutate(file.Bytes, dice, others) : file.Mutation!(file.Bytes, dice, others);
    }
}
