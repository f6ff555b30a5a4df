# What the campaigns share: the tool, small data, a way to tell what a run gave. Sourced with bash; no other language is needed.
set -uo pipefail
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 LC_ALL=C
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# The built tool; NOLA names another one.
tool() {
    nola=${NOLA:-$root/src/Nola.Cli/bin/Release/net10.0/nola}
    if [ ! -x "$nola" ]; then
        dotnet build -c Release "$root/src/Nola.Cli" >&2 || exit 1
    fi
}

now() { # milliseconds
    local t=${EPOCHREALTIME/[.,]/}
    echo $((t / 1000))
}

random() { # random END: 0 … END - 1
    echo $(((RANDOM << 15 | RANDOM) % ($1 > 0 ? $1 : 1)))
}

# Pairs of the embedded data, few enough that a run takes a second or two.
data() { # data DIRECTORY
    "$nola" data convert e2e:dev --out "$1/all.jsonl" 2>/dev/null || exit 1
    head -n 60 "$1/all.jsonl" >"$1/train.jsonl"
    tail -n 12 "$1/all.jsonl" >"$1/valid.jsonl"
    head -n 6 "$1/all.jsonl" | sed -E 's/,"completion":.*/}/' >"$1/prompts.jsonl"
}

# Of every training run. A checkpoint every five steps, an evaluation every ten, thirty steps.
settings() { # settings DIRECTORY
    echo "--data $1/train.jsonl --valid $1/valid.jsonl --targets q,v --batch-tokens 96 --epochs 20 --max-steps 30 --warmup 2
        --eval-every 10 --eval-pairs 4 --checkpoint-every 5 --threads 1 --device cpu"
}

losses() { # losses LOG: event, step and loss of each line, which are the same for the same run
    sed -nE 's/^\{"event":"(step|eval)","step":([0-9]+),.*"loss":([-0-9.eE+]+),.*\}$/\1 \2 \3/p' "$1"
}

same_run() { # same_run RUN REFERENCE: the bytes of the adapter, the losses of all steps, and nothing left over
    cmp -s "$1/adapter.safetensors" "$2/adapter.safetensors" || { echo "the adapter differs from an uninterrupted run's"; return 1; }
    cmp -s <(losses "$1/log.jsonl") <(losses "$2/log.jsonl") || { echo "the log's losses differ from an uninterrupted run's"; return 1; }
    [ "$(wc -l <"$1/log.jsonl")" = "$(wc -l <"$2/log.jsonl")" ] || { echo "the log has other lines than an uninterrupted run's"; return 1; }
    no_leftovers "$1"
}

same_files() { # same_files DIRECTORY REFERENCE: the same files with the same bytes
    diff -rq "$1" "$2" >/dev/null || { echo "$(diff -rq "$1" "$2" | head -n 1)"; return 1; }
}

no_leftovers() { # no_leftovers DIRECTORY
    local left
    left=$(find "$1" -name '*.tmp' -o -name '.probe*')
    [ -z "$left" ] || { echo "left over: $(echo "$left" | head -n 1)"; return 1; }
}

one_sentence() { # one_sentence STDERR: the last line is the tool's, short, and there is no stack
    local last
    last=$(grep -E '^nola: ' "$1")
    [ "$(grep -cE '^nola: ' "$1")" = 1 ] || { echo "not one sentence: $(tail -n 1 "$1")"; return 1; }
    [ ${#last} -lt 410 ] || { echo "a sentence of ${#last} characters"; return 1; }
    ! grep -qE '^ +at |Unhandled exception' "$1" || { echo "a stack trace"; return 1; }
}

# Commands that write one file or directory, each to be given its target: outputs, commands[name], targets[name].
output_commands() { # output_commands DATA ADAPTER
    declare -gA commands targets
    outputs=(quantize merge export convert generate)
    commands=(
        [quantize]="$nola quantize $2 --bits 4 --out"
        [merge]="$nola merge --adapter $2 --out"
        [export]="$nola export --adapter $2 --out"
        [convert]="$nola data convert $1/all.jsonl --out"
        [generate]="$nola generate --adapter $2 --prompts $1/prompts.jsonl --max-new 4 --threads 1 --device cpu --out"
    )
    targets=([quantize]=a.safetensors [merge]=model [export]=peft [convert]=pairs.jsonl [generate]=texts.txt)
}
