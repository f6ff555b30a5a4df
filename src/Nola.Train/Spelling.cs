namespace Nola.Train;

/// <summary>For "did you mean".</summary>
internal static class Spelling
{
    /// <summary>The word that is the fewest single-character edits away (Levenshtein).</summary>
    public static string Nearest(string word, IEnumerable<string> words) => words.MinBy(w => Distance(w, word)) ?? "";

    private static int Distance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int above = row[j];
                row[j] = Math.Min(Math.Min(above, row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                diagonal = above;
            }
        }
        return row[^1];
    }
}
