"""GPT-2 with frozen random weights in bfloat16 and an adapter on q and v: LoRA, or NOLA the way its published code has it."""
import torch
import torch.nn.functional as F

# Targets that do not count.
IGNORED = -100


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

    def __init__(self, inputs, outputs, rank):
        super().__init__()
        self.a = torch.nn.Parameter(torch.randn(inputs, rank) / inputs**0.5)
        self.b = torch.nn.Parameter(torch.zeros(rank, outputs))

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

    def __init__(self, inputs, outputs, rank, bases, seed):
        super().__init__()
        self.seed = seed
        self.alpha, self.beta = (torch.nn.Parameter(torch.zeros(bases)) for _ in range(2))
        self.register_buffer("a0", torch.rand(inputs, rank) / inputs**0.5)
        self.register_buffer("b0", torch.zeros(rank, outputs))

    def forward(self, x):
        scale = self.alpha.shape[0] ** -0.5
        a = self.a0 + scale * Mixed.apply(self.alpha, *self.a0.shape, self.seed)
        b = self.b0 + scale * Mixed.apply(self.beta, *self.b0.shape, self.seed + 1)
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
    def __init__(self, setting, adapter):
        super().__init__()
        c, self.vocabulary = setting["channels"], setting["vocabulary"]
        self.wte = torch.nn.Embedding(self.vocabulary, c, dtype=torch.bfloat16)
        self.wpe = torch.nn.Embedding(setting["positions"], c, dtype=torch.bfloat16)
        self.blocks = torch.nn.ModuleList(Block(c, setting["heads"], adapter) for _ in range(setting["layers"]))
        self.ln_f = torch.nn.LayerNorm(c)
        with torch.no_grad():
            self.wte.weight.mul_(0.02)
            self.wpe.weight.mul_(0.01)
        for name, p in self.named_parameters():
            p.requires_grad_("adapters" in name)

    def loss(self, ids, rows, targets):
        """Mean loss where a target counts; rows: where that is, gathered before the head, or None for logits everywhere."""
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        x = self.ln_f(x).flatten(0, 1)
        if rows is not None:
            x = x[rows]
        return F.cross_entropy(F.linear(x, self.wte.weight).float(), targets, ignore_index=IGNORED)


def with_peft(setting, device):
    """transformers' GPT-2 with PEFT's LoRA on its fused map of q, k and v, and its loss with the arguments of GPT2.loss."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_layer": setting["layers"], "n_head": setting["heads"], "n_embd": setting["channels"], "vocab_size": setting["vocabulary"], "n_positions": setting["positions"]}
    base = GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, attn_implementation="sdpa")).bfloat16()
    model = get_peft_model(base, LoraConfig(r=setting["rank"], lora_alpha=setting["rank"], target_modules=["c_attn"], fan_in_fan_out=True)).to(device)

    def loss(ids, _, targets):
        logits = model(input_ids=ids, use_cache=False).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets, ignore_index=IGNORED)

    return model, loss
