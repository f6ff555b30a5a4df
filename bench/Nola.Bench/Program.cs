using System.CommandLine;
using System.Globalization;
using Nola.Tensors;

namespace Nola.Bench;

/// <summary>
/// Verifies first, then times: every figure stands beside a limit that was measured on the same machine in the same run.
/// <c>dotnet run -c Release --project bench/Nola.Bench -- all</c>
/// </summary>
internal static class Program
{
    private static readonly (string Name, string What, Action<Bench> Run)[] parts =
    [
        ("gemm", "Matrix products of GPT-2's shapes, against the multiply-add peak", GemmBench.Run),
        ("attention", "Attention forward and backward on a token stream", AttentionBench.Run),
        ("loss", "Head and cross-entropy over gathered rows", LossBench.Run),
        ("basis", "Generating and mixing the random bases", BasisBench.Run),
        ("elementwise", "Everything else, against memory bandwidth", ElementwiseBench.Run),
        ("train-step", "A training step of GPT-2: full, LoRA, NOLA", StepBench.Run),
        ("parts", "Where the time of a LoRA step goes, in float32 and in bfloat16", PartsBench.Run),
        ("bfloat16", "Products and training steps of bfloat16, beside float32", RoundedBench.Run),
        ("published", "E2E examples a second, from the published way to this library's", PublishedBench.Run),
        ("llama", "LLaMA's kind with weights in 32, 16, 8 and 4 bits: a training step, decoding, memory", LlamaBench.Run),
        ("vision", "ViT-B/16: forward, training steps, and the pictures that they wait for", VisionBench.Run),
        ("generate", "Decoding token by token, and the time to the first token", GenerateBench.Run),
    ];

    private static int Main(string[] args)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        Option<int> threads = new("--threads") { Description = "Threads; 0 for one per core", Recursive = true };
        Option<string> size = new("--size")
        {
            Description = "gpt2, gpt2-medium, gpt2-large or gpt2-xl, with random weights",
            DefaultValueFactory = _ => "gpt2",
            Recursive = true,
        };
        Option<int> tokens = new("--tokens")
        {
            Description = "Tokens of a training step",
            DefaultValueFactory = _ => 2048,
            Recursive = true,
        };
        Option<int> repeats = new("--repeats")
        {
            Description = "Timed repetitions, of which the median counts",
            DefaultValueFactory = _ => 7,
            Recursive = true,
        };
        Option<string> output = new("--out") { Description = "Also write NAME.md and NAME.json", Recursive = true };
        RootCommand root = new("Nola's benchmarks. Verifies, then times; ratios are to limits measured in the same run.")
        {
            threads, size, tokens, repeats, output,
        };
        foreach ((string name, string what, Action<Bench> run) in parts) root.Add(Part(name, what, run));
        Argument<string> form = new("form");
        Option<bool> rounds = new("--bfloat16") { Description = "Of the large model, with products of bfloat16" };
        Command memory = new(
            "memory", "Prints the peak memory of a NOLA step in bytes, of the large model also its seconds") { form, rounds };
        memory.Hidden = true;
        memory.SetAction(r =>
        {
            using Bench bench = new(r.GetValue(threads), r.GetValue(size)!, r.GetValue(tokens), 1, quiet: true);
            string kind = r.GetValue(form)!;
            if (WeightFormats.Find(kind) is null) Console.WriteLine(StepBench.PeakMemory(bench, kind == "small"));
            else
            {
                (long bytes, double seconds) = LlamaBench.LargeStep(bench, kind, r.GetValue(rounds));
                Console.WriteLine($"{bytes} {seconds:F3}");
            }
        });
        root.Add(memory);
        Command exchange = new("exchange", "What ranks exchange in a step, between those that mpirun starts: mpirun -n 4 … exchange");
        exchange.SetAction(r => ExchangeBench.Run(100 * r.GetValue(repeats)));
        root.Add(exchange);
        root.Add(Part("decoding", "The decoding of llama alone", LlamaBench.Decoding));
        root.Add(Part("all", "Everything, and the table of bars with pass or fail", bench =>
        {
            foreach ((_, _, Action<Bench> run) in parts) run(bench);
        }));
        return root.Parse(args).Invoke();

        Command Part(string name, string what, Action<Bench> run)
        {
            Command command = new(name, what);
            command.SetAction(r =>
            {
                using Bench bench = new(r.GetValue(threads), r.GetValue(size)!, r.GetValue(tokens), r.GetValue(repeats));
                run(bench);
                bench.Finish(r.GetValue(output));
                return bench.AllPassed ? 0 : 1;
            });
            return command;
        }
    }
}
