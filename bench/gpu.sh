#!/usr/bin/env bash
# Verifies every GPU kernel against the CPU, times them, and writes NAME.md and NAME.json.
#
#   bench/gpu.sh --pack              on a machine with the .NET SDK: makes artifacts/nola-gpu-bench.tar.gz, which needs
#                                    nothing on the machine with the GPU but an NVIDIA driver
#   ./gpu.sh [NAME] [options]        there, unpacked (or in the repository, with the SDK); options: --device cuda:1,
#                                    --size gpt2-medium. With PyTorch installed, the same work in PyTorch follows.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

publish() { # directory
    dotnet publish -c Release -r linux-x64 --self-contained -o "$1" "$here/Nola.GpuBench/Nola.GpuBench.csproj"
}

if [ "${1:-}" = --pack ]; then
    target=$here/../artifacts/nola-gpu-bench
    rm -rf "$target"
    publish "$target"
    cp -r "$here/gpu.sh" "$here/peers" "$target/"
    tar -C "$target/.." -czf "$target.tar.gz" nola-gpu-bench
    echo "Made $target.tar.gz; unpack it where the GPU is and run nola-gpu-bench/gpu.sh."
    exit
fi

name=gpu-bench
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then
    name=$1
    shift
fi

program=$here/nola-gpu-bench
if [ ! -x "$program" ]; then
    publish "$here/../artifacts/nola-gpu-bench"
    program=$here/../artifacts/nola-gpu-bench/nola-gpu-bench
fi
if command -v nvidia-smi >/dev/null; then nvidia-smi; fi
"$program" --out "$name" "$@"

if command -v python3 >/dev/null && python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    python3 "$here/peers/torch_gpt2.py" >"$name-torch.json"
    echo "Wrote $name-torch.json."
else
    echo "PyTorch with CUDA is not here; the peer was not run."
fi
