#!/usr/bin/env bash
# Verifies every GPU kernel against the CPU, times them, and writes NAME.md and NAME.json.
#
#   bench/gpu.sh --pack              on a machine with the .NET SDK: makes artifacts/nola-gpu-bench.tar.gz, which needs
#                                    nothing on the machine with the GPU but an NVIDIA driver
#   ./gpu.sh [NAME] [options]        there, unpacked (or in the repository, with the SDK); options: --device cuda:1,
#                                    --size gpt2-medium. With PyTorch installed, the same work in PyTorch follows, on the
#                                    same card: NAME-torch.json, and the ratios in NAME-torch.md
#   ./gpu.sh [NAME] --tiles          measures every tile of the products on tensor cores instead, and writes NAME-tiles.json
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

publish() { # directory
    dotnet publish -c Release -r linux-x64 --self-contained -p:DebugType=none -o "$1" "$here/Nola.GpuBench/Nola.GpuBench.csproj"
}

if [ "${1:-}" = --pack ]; then
    target=$here/../artifacts/nola-gpu-bench
    rm -rf "$target"
    publish "$target"
    mkdir "$target/peers"
    cp "$here/gpu.sh" "$target/"
    cp "$here"/peers/*.py "$target/peers/"
    tar -C "$target/.." -czf "$target.tar.gz" nola-gpu-bench
    echo "Made $target.tar.gz ($(du -h "$target.tar.gz" | cut -f1)); unpack it where the GPU is and run nola-gpu-bench/gpu.sh."
    exit
fi

name=gpu-bench
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then
    name=$1
    shift
fi

# What the peer must know too.
size=gpt2 device=cuda tiles=
for ((i = 1; i <= $#; i++)); do
    next=$((i + 1))
    case ${!i} in
        --size) size=${!next-} ;;
        --device) device=${!next-} ;;
        --tiles) tiles=yes ;;
    esac
done

program=$here/nola-gpu-bench
if [ ! -x "$program" ]; then
    publish "$here/../artifacts/nola-gpu-bench"
    program=$here/../artifacts/nola-gpu-bench/nola-gpu-bench
fi
if command -v nvidia-smi >/dev/null; then nvidia-smi; fi
status=0
"$program" --out "$name" "$@" || status=$?

# 2: nothing could be measured, and there is nothing to compare with.
if [ -n "$tiles" ] || [ "$status" -gt 1 ]; then exit "$status"; fi
if command -v python3 >/dev/null; then
    python3 "$here/peers/torch_gpt2.py" --size "$size" --device "${device%%,*}" --against "$name.json" --out "$name-torch" || echo "The peer was not timed."
else
    echo "python3 is not here; the PyTorch peer was not run."
fi
exit "$status"
