using System.Text.RegularExpressions;

namespace Nola.Tests;

/// <summary>What ILGPU 1.5.3 does wrong and can be seen in a kernel's PTX; docs/gpu.md has the whole list.</summary>
internal static partial class IlgpuFaults
{
    /// <summary>The faults that a kernel meets, in words; none for a sound one.</summary>
    public static IEnumerable<string> Of(string ptx)
    {
        if (IndirectBranch().IsMatch(ptx))
            yield return "a switch, after which kernels were seen to access illegal addresses at O2: write a chain of conditions";
        if (CopySign().IsMatch(ptx)) yield return "CopySign, whose arguments ILGPU exchanges: take the sign's bit by hand";
        if (Call().IsMatch(ptx)) yield return "a call of a function that nobody has, as of FusedMultiplyAdd: write a * b + c";
        if (Tangent().IsMatch(ptx)) yield return "tanh.approx, with an error of 5e-4: use GpuMath.Tanh";
        if (UnsignedToFloat().IsMatch(ptx)) yield return "a conversion of uint to float by way of double precision: convert an int";
        foreach (string shift in ShiftsOfNegatives(ptx))
            yield return $"a division of a negated number that became a shift, which rounds down ({shift}): divide before negating";
    }

    // Of numbers that are negative for other reasons the emulator tells when it meets one.
    private static IEnumerable<string> ShiftsOfNegatives(string ptx)
    {
        HashSet<string> negated = [.. Negation().Matches(ptx).Select(m => m.Groups[1].Value)];
        foreach (Match copy in Copy().Matches(ptx))
            if (negated.Contains(copy.Groups[2].Value)) negated.Add(copy.Groups[1].Value);
        return SignedShift().Matches(ptx).Where(m => negated.Contains(m.Groups[1].Value)).Select(m => m.Value);
    }

    [GeneratedRegex(@"\bbrx\.")]
    private static partial Regex IndirectBranch();

    [GeneratedRegex(@"\bcopysign\.")]
    private static partial Regex CopySign();

    [GeneratedRegex(@"\.extern\b|^\s*(@\S+\s+)?call\b", RegexOptions.Multiline)]
    private static partial Regex Call();

    [GeneratedRegex(@"\btanh\.approx")]
    private static partial Regex Tangent();

    [GeneratedRegex(@"\bcvt\.rn\.f64\.u32\b")]
    private static partial Regex UnsignedToFloat();

    [GeneratedRegex(@"\bneg\.s(?:32|64)\s+(%\w+),")]
    private static partial Regex Negation();

    [GeneratedRegex(@"\bmov\.[bsu](?:32|64)\s+(%\w+),\s*(%\w+);")]
    private static partial Regex Copy();

    [GeneratedRegex(@"\bshr\.s(?:32|64)\s+%\w+,\s*(%\w+),\s*\d+;")]
    private static partial Regex SignedShift();
}
