using System.Diagnostics;
using System.Globalization;
using TorchSharp;
using TorchSharpBench;
using static TorchSharp.torch;

// The rows of Nola.Bench's "gemm", "attention" and "train-step" by libtorch, on the same shapes.
CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
const int Sequences = 38, Length = 54, Tokens = 1968, LossPositions = 955, Repeats = 7;
int threads = args is [var given, ..] ? int.Parse(given) : Environment.ProcessorCount;
set_num_threads(threads);
random.manual_seed(1);

Console.WriteLine($"libtorch through TorchSharp {typeof(torch).Assembly.GetName().Version}, {threads} threads, medians of {Repeats}");
Console.WriteLine();
Console.WriteLine("| work | float32 | bfloat16 |");
Console.WriteLine("|---|---|---|");
foreach ((int rows, int inputs, int outputs) in (ReadOnlySpan<(int, int, int)>)
    [(2048, 768, 2304), (2048, 768, 768), (2048, 768, 3072), (2048, 3072, 768), (512, 768, 50257)])
    Row($"x · W, {rows} × {inputs} × {outputs}", "GFLOP/s",
        type => 2e-9 * rows * inputs * outputs / Product(rows, inputs, outputs, type));
Row($"attention and its gradient, {Sequences} × {Length} tokens, 12 heads of 64", "ms", type => 1e3 * Attention(type));
Row($"training step, LoRA of rank 8 on q and v, {Tokens:N0} tokens in {Sequences} × {Length}, {LossPositions} losses", "tokens/s",
    type => Tokens / Step(type));

static void Row(string work, string unit, Func<ScalarType, double> measure) =>
    Console.WriteLine($"| {work} | {measure(ScalarType.Float32):F1} {unit} | {measure(ScalarType.BFloat16):F1} {unit} |");

static double Product(int rows, int inputs, int outputs, ScalarType type)
{
    using DisposeScope scope = NewDisposeScope();
    using IDisposable frozen = no_grad();
    Tensor x = randn(rows, inputs).to(type), w = randn(outputs, inputs).to(type);
    return Seconds(() => nn.functional.linear(x, w));
}

static double Attention(ScalarType type)
{
    using DisposeScope scope = NewDisposeScope();
    Tensor[] qkv = [.. Enumerable.Range(0, 3).Select(_ => randn(Sequences, 12, Length, 64).to(type).requires_grad_())];
    return Seconds(() =>
    {
        nn.functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_casual: true).sum().backward();
        foreach (Tensor part in qkv) part.grad = null;
    });
}

static double Step(ScalarType type)
{
    using DisposeScope scope = NewDisposeScope();
    Gpt2 model = new(type);
    using optim.Optimizer optimizer = optim.AdamW(model.Trained, 0.0);
    Tensor ids = randint(0, 50257, [Sequences, Length]);
    Tensor rows = randperm(Sequences * Length).narrow(0, 0, LossPositions).sort().Values, targets = randint(0, 50257, [LossPositions]);
    return Seconds(() =>
    {
        optimizer.zero_grad();
        model.Loss(ids, rows, targets).backward();
        optimizer.step();
    });
}

// One call: the median, after two that are not counted.
static double Seconds(Action run)
{
    List<double> seconds = [];
    for (int i = -2; i < Repeats; i++)
    {
        long start = Stopwatch.GetTimestamp();
        using (NewDisposeScope()) run();
        if (i >= 0) seconds.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
    }
    return seconds.Order().ElementAt(Repeats / 2);
}
