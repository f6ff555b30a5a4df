"""The work of nola-gpu-bench in PyTorch, on the same card and the same E2E examples, and the table of all bars.

GPT-2 with random weights, frozen ones in bfloat16, trained ones in float32, bfloat16 autocast, scaled_dot_product_attention,
fused AdamW; batches are on the card before the clock starts. Timed are the products of a block, attention, and training:

  LoRA          on q and v, batches of several sizes, each padded to its longest example; the loss on rows gathered before the
                head, or on all rows with the others masked; as it is, and through torch.compile. The fastest counts.
  LoRA, PEFT    where peft and transformers are installed: PEFT's LoRA on the fused map of q, k and v of transformers' GPT-2,
                logits everywhere, as its users have it. Another map, so it does not count for the bars.
  NOLA          as the published code does it: batches of 8 padded to 512, logits everywhere; every layer draws its bases from
                the process-wide generator in the forward pass and once more in the backward pass, and forms them all in memory.

Usage: torch_gpt2.py --against NAME.json [--device cuda:1] [--out NAME-torch]
NAME.json is nola-gpu-bench's report; sizes and examples (NAME-e2e.json beside it) are read from there.
Writes NAME-torch.json and NAME-torch.md. Needs PyTorch 2 or newer.
"""
import argparse
import json
import os
import statistics
import sys
import time

import bars

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    sys.exit(f"torch_gpt2.py: PyTorch cannot be imported ({error}); the peer was not run. Install torch with CUDA and run bench/gpu.sh again.")

from model import GPT2, IGNORED, Lora, Nola, with_peft

PUBLISHED_BATCH, PUBLISHED_LENGTH = 8, 512


def batches(examples, size, gathered, device, length=None):
    """Arguments of GPT2.loss for each batch, padded to a length, or to its longest example and a multiple of 8."""
    for start in range(0, len(examples), size):
        some = examples[start : start + size]
        # The last token is only predicted.
        width = length or -(-max(len(e["ids"]) - 1 for e in some) // 8) * 8
        ids, targets = torch.zeros(len(some), width, dtype=torch.long), torch.full((len(some), width), IGNORED)
        for row, example in enumerate(some):
            tokens, first = torch.tensor(example["ids"]), example["first"]
            ids[row, : len(tokens) - 1] = tokens[:-1]
            targets[row, first : len(tokens) - 1] = tokens[first + 1 :]
        targets = targets.flatten()
        rows = (targets != IGNORED).nonzero().flatten()
        yield ids.to(device), rows.to(device) if gathered else None, (targets[rows] if gathered else targets).to(device)


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(run, device, least=0.1):
    """Seconds of one call: median of five timings of as many calls as take so many seconds."""

    def timed(count):
        wait(device)
        start = time.perf_counter()
        for _ in range(count):
            run()
        wait(device)
        return (time.perf_counter() - start) / count

    run()
    run()
    count = min(max(int(least / timed(1)), 1), 1000)
    return statistics.median(timed(count) for _ in range(5))


def attempt(name, make):
    """A list with the row, or an empty one: a compiler or memory that is not there costs this row alone."""
    try:
        row = make()
    except Exception as error:
        print(f"  {name}: not run, {type(error).__name__}: {error}", file=sys.stderr)
        return []
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    print(f"  {name}  {1e3 * row['seconds']:.3f} ms" + (f"  {row['examples_per_second']:.1f} examples/s" if "examples_per_second" in row else ""))
    return [{"name": name} | row]


def kernels(setting, examples, device):
    tokens, c, heads = setting["tokens"], setting["channels"], setting["heads"]
    a, b = (torch.randn(tokens, tokens, device=device, dtype=torch.bfloat16) for _ in range(2))
    yield from kernel(f"x · W ({tokens}, {tokens})", 2 * tokens**3, lambda: a @ b, device)
    for inputs, outputs in ((c, 3 * c), (c, c), (c, 4 * c), (4 * c, c)):
        x, w, dy = (torch.randn(*s, device=device, dtype=torch.bfloat16) for s in ((tokens, inputs), (inputs, outputs), (tokens, outputs)))
        shape, work = f"({inputs}, {outputs})", 2 * tokens * inputs * outputs
        yield from kernel(f"x · W {shape}", work, lambda: x @ w, device)
        yield from kernel(f"dy · Wᵀ {shape}", work, lambda: dy @ w.T, device)
        yield from kernel(f"xᵀ · dy {shape}", work, lambda: x.T @ dy, device)
    lengths = [len(e["ids"]) - 1 for e in examples]
    yield from attention(len(lengths), max(lengths), c, heads, sum(t * (t + 1) for t in lengths), ", E2E's lengths", device)
    yield from attention(setting["sequences"], setting["length"], c, heads, setting["sequences"] * setting["length"] * (setting["length"] + 1), "", device)


def kernel(name, work, run, device):
    def row():
        t = seconds(run, device)
        return {"kind": "kernel", "seconds": t, "rate": 1e-12 * work / t, "unit": "TFLOP/s"}

    return attempt(name, row)


def attention(sequences, length, c, heads, pairs, how, device):
    """Padded where lengths differ; pairs: twice the queries with their keys that count, of all sequences."""

    def leaves():
        return [torch.randn(sequences, heads, length, c // heads, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]

    def forward(inputs):
        return F.scaled_dot_product_attention(*inputs, is_causal=True)

    def both(inputs, dy):
        torch.autograd.grad(forward(inputs), inputs, dy)

    inputs = leaves()
    dy = torch.randn_like(inputs[0])
    with torch.no_grad():
        yield from kernel("attention" + how, 2 * pairs * c, lambda: forward(inputs), device)
    y = forward(inputs)
    yield from kernel("its gradient" + how, 5 * pairs * c, lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True), device)
    del y
    yield from kernel("attention, both ways" + how, 7 * pairs * c, lambda: both(inputs, dy), device)
    if device.type == "cuda":
        # What autograd keeps of a tensor belongs to the stream that made it, and a recording allows no other.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            apart = leaves()
        try:
            replay = graph(lambda: both(apart, dy), side)
        except RuntimeError as error:
            print(f"  attention as a graph: not run, {error}", file=sys.stderr)
        else:
            yield from kernel("attention, both ways" + how + bars.GRAPH, 7 * pairs * c, replay, device)


def graph(run, side):
    """What queues everything that run queues on that stream at once."""
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded, stream=side):
        run()
    return recorded.replay


def steps(setting, examples, device):
    rank, tokens = setting["rank"], sum(len(e["ids"]) - 1 for e in examples)

    def measured(method, model, loss, work, clip):
        t, peak = timed(model, loss, work, clip, device)
        count = sum(ids.shape[0] for ids, _, _ in work)
        return {"kind": "step", "method": method, "seconds": t, "examples": count, "examples_per_second": count / t, "padded_tokens": sum(ids.numel() for ids, _, _ in work), "peak_bytes": peak}

    def row(name, *work):
        return attempt(name, lambda: measured(*work))

    model = GPT2(setting, lambda c, seed: Lora(c, c, rank)).to(device)
    sizes = sorted({min(size, len(examples)) for size in (8, 16, 32, 64, len(examples))})
    work = {(size, form): list(batches(examples, size, form == "gathered", device)) for size in sizes for form in ("gathered", "masked")}
    check(model, work[sizes[0], "gathered"][0], work[sizes[0], "masked"][0], device)
    print(f"  LoRA: a pass over {len(examples)} examples, {tokens} tokens")
    best, most = (sizes[-1], "gathered"), 0
    # From the largest down, as long as smaller batches are not far behind: their many steps take many times as long to time.
    kept = []
    for size in reversed(sizes):
        rates = []
        for form in ("gathered", "masked"):
            for found in row(f"LoRA, batches of {size}, {form}", "LoRA", model, model.loss, work[size, form], True):
                rates.append(found["examples_per_second"])
                if rates[-1] > most:
                    best, most = (size, form), rates[-1]
                yield found
        kept.append(size)
        if rates and max(rates) < 0.5 * most:
            print(f"  LoRA: batches of fewer than {size} are left out, half as fast as the best already")
            break
    dynamic = torch.compile(model.loss, dynamic=True)
    for size in kept:
        for found in row(f"LoRA, batches of {size}, {best[1]}, compiled for any shape", "LoRA", model, dynamic, work[size, best[1]], True):
            if found["examples_per_second"] > most:
                best, most = (size, best[1]), found["examples_per_second"]
            yield found
    # A compilation for each batch's shape: where there are few.
    if len(work[best]) <= 8:
        torch._dynamo.reset()  # What was compiled for any shape would be taken for these too.
        static = torch.compile(model.loss, dynamic=False)
        yield from row(f"LoRA, batches of {best[0]}, {best[1]}, compiled for each shape", "LoRA", model, static, work[best], True)
    yield from attempt(f"LoRA through PEFT on q, k and v, batches of {best[0]}, logits everywhere", lambda: measured("PEFT", *with_peft(setting, device), work[best[0], "masked"], True))
    del model, dynamic, work
    # Drawing from the process-wide generator is not something that compiles. The published recipe does not clip.
    model = GPT2(setting, lambda c, seed: Nola(c, c, rank, setting["bases"], seed)).to(device)
    padded = list(batches(examples[:PUBLISHED_BATCH], PUBLISHED_BATCH, False, device, PUBLISHED_LENGTH))
    yield from row(f"NOLA as published, batches of {PUBLISHED_BATCH} padded to {PUBLISHED_LENGTH}", "NOLA", model, model.loss, padded, False)


def check(model, gathered, masked, device):
    """Both forms of the loss are the same number."""
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
        one, other = model.loss(*gathered).item(), model.loss(*masked).item()
    if not abs(one - other) <= 1e-3 * abs(one):
        sys.exit(f"torch_gpt2.py: the loss of gathered rows is {one} and that of masked ones {other}; nothing is timed that is wrong.")


def timed(model, loss, work, clip, device):
    """Seconds of a training step on each batch in turn, and the most memory."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0, fused=device.type == "cuda")

    def step(batch):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            y = loss(*batch)
        y.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    def run():
        for batch in work:
            step(batch)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    t = seconds(run, device, 0.3)
    return t, torch.cuda.max_memory_allocated() if device.type == "cuda" else None


def compare(report, rows, setting):
    """Markdown: the bars, each kernel beside ours, and all of PyTorch's steps."""
    head = f"{setting['size']}, {setting['tokens']} tokens: nola on {setting['device']}; PyTorch {setting['torch']} on {setting['torch_device']}"
    lines = [f"# Bars: {head}", "", *bars.table(report["bars"]), "", "## Kernels", "", "| kernel | nola | PyTorch | nola's speed / PyTorch's |", "|---|---|---|---|"]
    ours, theirs = bars.kernels(row for row in report["rows"] if row.get("precision") == setting["precision"]), bars.kernels(rows)
    lines += [f"| {name} | {1e3 * ours[name]:.3f} ms | {1e3 * t:.3f} ms | {t / ours[name]:.2f} |" for name, t in theirs.items() if name in ours]
    lines += ["", "## Training", "", "| step | examples/s | memory |", "|---|---|---|"]
    for side, found in (("nola", report["rows"]), ("PyTorch", rows)):
        lines += [f"| {side}: {row['name']} | {row['examples_per_second']:.1f} | {memory(row)} |" for row in found if row["kind"] == "step"]
    return "\n".join(lines) + "\n"


def memory(row):
    return f"{row['peak_bytes'] / 1e9:.2f} GB" if row["peak_bytes"] else ""


def main():
    parser = argparse.ArgumentParser(description="The work of nola-gpu-bench in PyTorch, and the table of all bars.")
    parser.add_argument("--against", required=True, metavar="NAME.json", help="nola-gpu-bench's report; NAME-e2e.json is beside it")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu, which shows that the peer runs")
    parser.add_argument("--out", default="gpu-bench-torch", metavar="NAME", help="writes NAME.json and NAME.md")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit(f"torch_gpt2.py: PyTorch {torch.__version__} is here and sees no CUDA device; the peer was not run.")
    if not hasattr(F, "scaled_dot_product_attention"):
        sys.exit(f"torch_gpt2.py: PyTorch {torch.__version__} is here and has no scaled_dot_product_attention; the peer needs 2.0 or newer and was not run.")
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)  # set_device wants a number.
        torch.cuda.set_device(device)
    with open(options.against, encoding="utf-8") as file:
        report = json.load(file)
    with open(os.path.join(os.path.dirname(options.against), report["setting"]["examples"]), encoding="utf-8") as file:
        examples = json.load(file)["examples"]
    setting = report["setting"] | {"torch": torch.__version__, "torch_device": torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"}
    rows = []
    for part in (kernels, steps):
        try:
            for row in part(setting, examples, device):
                rows.append(row)
        except Exception as error:  # Costs what would have come after it in its part.
            print(f"torch_gpt2.py: {part.__name__} could not run to the end, {type(error).__name__}: {error}", file=sys.stderr)
    bars.fill(report, rows)
    with open(options.out + ".json", "w", encoding="utf-8") as file:
        json.dump({"setting": setting, "rows": rows, "bars": report["bars"]}, file, indent=2, ensure_ascii=False)
    text = compare(report, rows, setting)
    with open(options.out + ".md", "w", encoding="utf-8") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
