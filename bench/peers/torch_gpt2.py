"""The work of Nola.GpuBench in PyTorch, on the same card: GPT-2 with random weights, 16 sequences of 512 tokens, the loss on
the second half of each, frozen weights in bfloat16, trained ones in float32, bfloat16 autocast, scaled_dot_product_attention,
fused AdamW, each step also through torch.compile. Timed are the products of a block, attention, and training steps with

  LoRA          rank 8 on q and v, written as LoRA's own code has it: added to the fused map's columns
  LoRA, PEFT    rank 8 on the fused map of q, k and v, through PEFT and transformers' GPT-2, where both are installed
  NOLA          rank 8, 512 bases, the way the published code does it: every layer draws its bases from the process-wide
                generator in the forward pass and once more in the backward pass, and forms them all in memory

Needs torch with CUDA. Usage: torch_gpt2.py [--size gpt2-medium] [--device cuda:1] [--out NAME] [--against NAME.json]
Writes NAME.json, and with --against the report of nola-gpu-bench also NAME.md, where every ratio is of one run on one card.
"""
import argparse
import json
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    sys.exit(f"torch_gpt2.py: PyTorch cannot be imported ({error}); the peer was not run. Install torch with CUDA and run bench/gpu.sh again.")

SIZES = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024), "gpt2-large": (36, 20, 1280), "gpt2-xl": (48, 25, 1600)}
VOCABULARY, SEQUENCES, LENGTH, RANK, BASES = 50257, 16, 512, 8, 512
TOKENS = SEQUENCES * LENGTH


class Frozen(torch.nn.Module):
    """y = x · W + b with a frozen W (in, out)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.w = torch.nn.Parameter((0.02 * torch.randn(inputs, outputs)).bfloat16(), requires_grad=False)
        self.b = torch.nn.Parameter(torch.zeros(outputs).bfloat16(), requires_grad=False)

    def forward(self, x):
        return torch.addmm(self.b, x.flatten(0, -2), self.w).view(*x.shape[:-1], -1)


class Lora(torch.nn.Module):
    """(…, in) to (…, out): s · (x · A) · B."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.a = torch.nn.Parameter(torch.randn(inputs, RANK) / inputs**0.5)
        self.b = torch.nn.Parameter(torch.zeros(RANK, outputs))

    def forward(self, x):
        return x @ self.a @ self.b


class Mixed(torch.autograd.Function):
    """Σᵢ αᵢ Aᵢ with the Aᵢ drawn from a seed, again in the backward pass: nothing random is kept."""

    @staticmethod
    def draw(alpha, rows, columns, seed):
        after = torch.randint(2**31, (1,)).item()
        torch.manual_seed(seed)
        bases = torch.empty(alpha.shape[0], rows, columns, device=alpha.device, dtype=alpha.dtype).uniform_(-1, 1)
        torch.manual_seed(after)
        return bases

    @staticmethod
    def forward(context, alpha, rows, columns, seed):
        context.drawn = rows, columns, seed
        context.save_for_backward(alpha)
        return (alpha[:, None, None] * Mixed.draw(alpha, rows, columns, seed)).sum(0)

    @staticmethod
    def backward(context, gradient):
        (alpha,) = context.saved_tensors
        return Mixed.draw(alpha, *context.drawn).flatten(1) @ gradient.float().flatten(), None, None, None


class Nola(torch.nn.Module):
    """As Lora, with factors that are offsets plus mixtures of random bases."""

    def __init__(self, inputs, outputs, seed):
        super().__init__()
        self.seed = seed
        self.alpha, self.beta = (torch.nn.Parameter(torch.zeros(BASES)) for _ in range(2))
        self.register_buffer("a0", torch.rand(inputs, RANK) / inputs**0.5)
        self.register_buffer("b0", torch.zeros(RANK, outputs))

    def forward(self, x):
        a = self.a0 + BASES**-0.5 * Mixed.apply(self.alpha, *self.a0.shape, self.seed)
        b = self.b0 + BASES**-0.5 * Mixed.apply(self.beta, *self.b0.shape, self.seed + 1)
        return x @ a @ b


class Block(torch.nn.Module):
    def __init__(self, c, heads, adapter):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(c), torch.nn.LayerNorm(c)
        self.c_attn, self.c_proj, self.c_fc, self.c_out = Frozen(c, 3 * c), Frozen(c, c), Frozen(c, 4 * c), Frozen(4 * c, c)
        self.adapters = torch.nn.ModuleList(adapter(c, 10 * i) for i in range(2))

    def forward(self, x):
        b, t, c = x.shape
        h = self.ln_1(x)
        q, k, v = self.c_attn(h).chunk(3, -1)
        q, v = q + self.adapters[0](h), v + self.adapters[1](h)
        q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT2(torch.nn.Module):
    def __init__(self, layers, heads, c, adapter):
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(VOCABULARY, c, dtype=torch.bfloat16), torch.nn.Embedding(1024, c, dtype=torch.bfloat16)
        self.blocks = torch.nn.ModuleList(Block(c, heads, adapter) for _ in range(layers))
        self.ln_f = torch.nn.LayerNorm(c)
        for name, p in self.named_parameters():
            p.requires_grad_("adapters" in name)

    def loss(self, ids):
        """Mean loss of the second half of each sequence, the head on those rows alone."""
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        rows = self.ln_f(x[:, LENGTH // 2 :]).flatten(0, 1)
        return F.cross_entropy(F.linear(rows, self.wte.weight).float(), ids[:, LENGTH // 2 :].flatten())


class Peft(torch.nn.Module):
    """transformers' GPT-2 with PEFT's LoRA; the head is on every row, as there."""

    def __init__(self, layers, heads, c):
        super().__init__()
        from peft import LoraConfig, get_peft_model
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(n_layer=layers, n_head=heads, n_embd=c, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, attn_implementation="sdpa")
        self.model = get_peft_model(GPT2LMHeadModel(config), LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["c_attn"], fan_in_fan_out=True))

    def loss(self, ids):
        labels = ids.clone()
        labels[:, : LENGTH // 2] = -100
        return self.model(input_ids=ids, labels=labels, use_cache=False).loss


def seconds(run):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(10):
            run()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / 10)
    return statistics.median(times)


def kernels(c, heads, device):
    def row(name, work, run):
        t = seconds(run)
        return {"kind": "kernel", "name": name, "seconds": t, "rate": 1e-12 * work / t, "unit": "TFLOP/s"}

    for inputs, outputs in ((c, 3 * c), (c, c), (c, 4 * c), (4 * c, c)):
        x, w, dy = (torch.randn(*s, device=device, dtype=torch.bfloat16) for s in ((TOKENS, inputs), (inputs, outputs), (TOKENS, outputs)))
        shape, work = f"({inputs}, {outputs})", 2 * TOKENS * inputs * outputs
        yield row(f"x · W {shape}", work, lambda: x @ w)
        yield row(f"dy · Wᵀ {shape}", work, lambda: dy @ w.T)
        yield row(f"xᵀ · dy {shape}", work, lambda: x.T @ dy)
    q, k, v = (torch.randn(SEQUENCES, heads, LENGTH, c // heads, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    dy = torch.randn_like(q)
    work = 2 * SEQUENCES * LENGTH * (LENGTH + 1) * c
    with torch.no_grad():
        yield row("attention", work, lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    yield row("its gradient", 2.5 * work, lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True))


def steps(size, device):
    layers, heads, c = SIZES[size]
    ids = torch.randint(VOCABULARY, (SEQUENCES, LENGTH), device=device)
    models = [
        ("LoRA step", lambda: GPT2(layers, heads, c, lambda c, seed: Lora(c, c))),
        ("LoRA step, PEFT", lambda: Peft(layers, heads, c)),
        ("NOLA step, as published", lambda: GPT2(layers, heads, c, lambda c, seed: Nola(c, c, seed))),
    ]
    for name, make in models:
        # Drawing from the process-wide generator is not something that compiles.
        for compiled in (False, True) if "NOLA" not in name else (False,):
            way = name + ", compiled" * compiled
            try:
                yield {"kind": "step", "name": way} | timed(make().to(device), ids, compiled)
            except Exception as error:  # A package, a compiler or memory that is not there costs this row alone.
                print(f"  {way}: not run, {type(error).__name__}: {error}", file=sys.stderr)
            torch.cuda.empty_cache()


def timed(model, ids, compiled):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0, fused=True)
    loss = torch.compile(model.loss) if compiled else model.loss

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            y = loss(ids)
        y.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    torch.cuda.reset_peak_memory_stats()
    t = seconds(step)
    return {"seconds": t, "tokens_per_second": TOKENS / t, "peak_bytes": torch.cuda.max_memory_allocated()}


def compare(ours, theirs, setting):
    """Markdown: each of theirs beside ours of the same work; for a training step, ours with NOLA."""
    lines = [f"# Against PyTorch {setting['torch']} on {setting['device']}, {setting['size']}", "", "| work | nola | PyTorch | nola's speed / PyTorch's |", "|---|---|---|---|"]
    for row in theirs:
        if row["kind"] == "kernel":
            same = [o for o in ours if o["kind"] == "kernel" and o["name"] == row["name"] and "bfloat16" in o.get("device", "")]
        else:
            same = [o for o in ours if o["kind"] == "step" and o["name"].startswith("NOLA step")]
        for our in same:
            name = row["name"] if row["kind"] == "kernel" else f"NOLA step against PyTorch's {row['name']}"
            lines.append(f"| {name} | {1e3 * our['seconds']:.3f} ms | {1e3 * row['seconds']:.3f} ms | {row['seconds'] / our['seconds']:.2f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="gpt2", choices=SIZES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", default="gpu-bench-torch")
    parser.add_argument("--against")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(f"torch_gpt2.py: PyTorch {torch.__version__} is here and sees no CUDA device; the peer was not run.")
    torch.cuda.set_device(torch.device(options.device))
    layers, heads, c = SIZES[options.size]
    setting = {"kind": "setting", "size": options.size, "torch": torch.__version__, "device": torch.cuda.get_device_name(), "tokens": TOKENS}
    rows = []
    for row in (*kernels(c, heads, options.device), *steps(options.size, options.device)):
        print(f"  {row['name']}  {1e3 * row['seconds']:.3f} ms")
        rows.append(row)
    with open(options.out + ".json", "w", encoding="utf-8") as file:
        json.dump([setting, *rows], file, indent=2, ensure_ascii=False)
    print(f"Wrote {options.out}.json.")
    if options.against:
        with open(options.against, encoding="utf-8") as file:
            ours = json.load(file)
        text = compare(ours, rows, setting)
        with open(options.out + ".md", "w", encoding="utf-8") as file:
            file.write(text)
        print(text + f"Wrote {options.out}.md.")


if __name__ == "__main__":
    main()
