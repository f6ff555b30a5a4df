"""The work of Nola.GpuBench in PyTorch: the same sizes, a GPT-2 with random weights and LoRA on q and v, in bfloat16.

Prints a JSON list. Needs torch with CUDA and nothing else. Usage: torch_gpt2.py [gpt2|gpt2-medium]
"""
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

SIZES = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024)}
VOCABULARY, SEQUENCES, LENGTH, RANK = 50257, 16, 512, 8


class Linear(torch.nn.Module):
    """y = x · W + b with a frozen W (in, out), and a LoRA on the columns of q and v where rank is given."""

    def __init__(self, inputs, outputs, rank=0):
        super().__init__()
        self.w = torch.nn.Parameter(0.02 * torch.randn(inputs, outputs), requires_grad=False)
        self.b = torch.nn.Parameter(torch.zeros(outputs), requires_grad=False)
        self.pairs = torch.nn.ParameterList()
        for _ in range(2 if rank else 0):
            self.pairs.append(torch.nn.Parameter(torch.randn(inputs, rank) / inputs**0.5))
            self.pairs.append(torch.nn.Parameter(torch.zeros(rank, outputs // 3)))

    def forward(self, x):
        y = torch.addmm(self.b, x.flatten(0, -2), self.w).view(*x.shape[:-1], -1)
        if not self.pairs:
            return y
        q, k, v = y.chunk(3, -1)
        q = q + x @ self.pairs[0] @ self.pairs[1]
        v = v + x @ self.pairs[2] @ self.pairs[3]
        return torch.cat((q, k, v), -1)


class Block(torch.nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(c), torch.nn.LayerNorm(c)
        self.c_attn, self.c_proj = Linear(c, 3 * c, RANK), Linear(c, c)
        self.c_fc, self.c_out = Linear(c, 4 * c), Linear(4 * c, c)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.c_attn(self.ln_1(x)).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT2(torch.nn.Module):
    def __init__(self, layers, heads, c):
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(VOCABULARY, c), torch.nn.Embedding(1024, c)
        self.blocks = torch.nn.ModuleList(Block(c, heads) for _ in range(layers))
        self.ln_f = torch.nn.LayerNorm(c)
        for name, p in self.named_parameters():
            p.requires_grad_("pairs" in name)

    def loss(self, ids):
        """Mean loss of the second half of each sequence, the head on those rows alone."""
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        rows = self.ln_f(x[:, LENGTH // 2 :]).flatten(0, 1)
        return F.cross_entropy(F.linear(rows, self.wte.weight).float(), ids[:, LENGTH // 2 :].flatten())


def seconds(run):
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


def main():
    size = sys.argv[1] if len(sys.argv) > 1 else "gpt2"
    layers, heads, c = SIZES[size]
    tokens = SEQUENCES * LENGTH
    rows = [{"kind": "setting", "size": size, "torch": torch.__version__, "device": torch.cuda.get_device_name(), "tokens": tokens}]
    for inputs, outputs in ((c, 3 * c), (c, c), (c, 4 * c), (4 * c, c)):
        x, w = (torch.randn(*s, device="cuda", dtype=torch.bfloat16) for s in ((tokens, inputs), (inputs, outputs)))
        t = seconds(lambda: x @ w)
        rows.append({"kind": "kernel", "name": f"x · W ({inputs}, {outputs})", "seconds": t, "rate": 2e-12 * tokens * inputs * outputs / t, "unit": "TFLOP/s"})
    model = GPT2(layers, heads, c).to("cuda", torch.bfloat16)
    ids = torch.randint(VOCABULARY, (SEQUENCES, LENGTH), device="cuda")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0, fused=True)

    def step():
        optimizer.zero_grad()
        model.loss(ids).backward()
        optimizer.step()

    for name, run in (("LoRA step", step), ("LoRA step, compiled", None)):
        if run is None:
            model.loss = torch.compile(model.loss)
            run = step
        t = seconds(run)
        rows.append({"kind": "step", "name": name, "seconds": t, "tokens_per_second": tokens / t})
    print(json.dumps(rows, indent=2, ensure_ascii=False))


main()
