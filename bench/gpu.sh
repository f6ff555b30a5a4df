#!/usr/bin/env bash
# Verifies every GPU kernel against the CPU, times kernels, training, decoding and the start, then the same work in PyTorch where
# that is installed, and prints a table of bars: measured, bar, pass.
#
#   bench/gpu.sh --pack              on a machine with the .NET SDK: makes artifacts/nola-gpu-bench.tar.gz, which needs
#                                    nothing on the machine with the GPU but an NVIDIA driver
#   ./gpu.sh [NAME] [options]        there, unpacked (or in the repository, with the SDK). Writes NAME.md and NAME.json, NAME-e2e.json
#                                    (the examples that both sides train on), and after PyTorch NAME-torch.md and
#                                    NAME-torch.json; NAME-torch.md begins with the table of all bars
#   ./gpu.sh [NAME] --tiles          measures every tile of the products on tensor cores instead, and writes NAME-tiles.json
#   ./gpu.sh --help                  this text, and the program's options
#
# Ends with 0 when all kernels agree with the CPU, with 1 when one does not or a part could not run, and with 2 when nothing
# could be measured. A bar that is not met, and a peer that is not there or fails, change nothing about that.
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
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    name=$1
    shift
fi

# What is not the program's alone; sizes and examples the peer reads from the program's report.
device=cuda tiles= help=
for ((i = 1; i <= $#; i++)); do
    next=$((i + 1))
    case ${!i} in
        --device) device=${!next-} ;;
        --device=*) device=${!i#*=} ;;
        --tiles) tiles=yes ;;
        --help | -h | '-?') help=yes ;;
    esac
done

program=$here/nola-gpu-bench
if [ ! -x "$program" ]; then
    publish "$here/../artifacts/nola-gpu-bench"
    program=$here/../artifacts/nola-gpu-bench/nola-gpu-bench
fi
if [ -n "$help" ]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exec "$program" --help
fi
if command -v nvidia-smi >/dev/null; then nvidia-smi; fi
status=0
"$program" --out "$name" "$@" || status=$?

# 2: nothing could be measured, and there is nothing to compare with.
if [ -n "$tiles" ] || [ "$status" -gt 1 ]; then exit "$status"; fi
# What an earlier run left must not pass for this one's.
rm -f "$name-torch.md" "$name-torch.json"
if command -v python3 >/dev/null; then
    python3 "$here/peers/torch_gpt2.py" --device "${device%%,*}" --against "$name.json" --out "$name-torch" || echo "The peer was not timed."
else
    echo "python3 is not here; the PyTorch peer was not run."
fi
echo "The bars are in $([ -f "$name-torch.md" ] && echo "$name-torch.md" || echo "$name.md, without those against PyTorch"). Files:"
ls -1 "$name.md" "$name.json" "$name-e2e.json" "$name-torch.md" "$name-torch.json" 2>/dev/null || true
exit "$status"
