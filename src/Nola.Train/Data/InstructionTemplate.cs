namespace Nola.Train;

/// <summary>An instruction as a context: the words of Stanford Alpaca (Taori et al. 2023, its <c>train.py</c>).</summary>
internal static class InstructionTemplate
{
    /// <summary>The context that is answered.</summary>
    /// <param name="instruction">What to do.</param>
    /// <param name="input">What to do it with; null or empty for nothing.</param>
    public static string Prompt(string instruction, string? input) => string.IsNullOrEmpty(input)
        ? "Below is an instruction that describes a task. Write a response that appropriately completes the request."
            + $"\n\n### Instruction:\n{instruction}\n\n### Response:"
        : "Below is an instruction that describes a task, paired with an input that provides further context. "
            + "Write a response that appropriately completes the request."
            + $"\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:";
}
