#!/usr/bin/env bash
# Kills the tool (kill -9) at random moments and lets it go on: what comes out must be what an uninterrupted run gives, bit for bit,
# and no file may be torn.
#   tests/campaigns/kill.sh [KILLS [JOBS]]     100 kills, two side by side; REPORT=FILE keeps the table, SEED=N chooses the moments
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
kills=${1:-100} jobs=${2:-2} seed=${SEED:-$RANDOM}
tool
work=$(mktemp -d "${TMPDIR:-/tmp}/nola-kill.XXXXXX")
trap 'rm -rf "$work"' EXIT
began=$(now)

# One line of a lane's journal for each event: kind, phase or outcome.
note() { echo "$*" >>"$journal"; }

wrong() { # wrong WHAT WHERE: what is wrong stays where it is, to be looked at
    note "wrong $1"
    echo "WRONG ($lane): $1" >&2
    local kept="${KEEP:-${TMPDIR:-/tmp}/nola-kill-failures}/$lane-$(now)"
    mkdir -p "$kept" && cp -r "$2" "$kept/"
    echo "       kept in $kept" >&2
}

being_written() { # being_written TARGET: whether this process is writing a file in or beside it; others may have left some
    local file
    for file in "$1"/*.tmp "$1"/*/*.tmp "$1"*.tmp; do
        [ "$file" -nt "$scratch/start" ] && return 0
    done
    return 1
}

# Starts a command and kills it: after a random time, or as soon as a file is being written beside its target.
# Sets killed=1 or 0 and code.
kill_at_random() { # kill_at_random MILLISECONDS WATCHED COMMAND...
    local limit=$1 watched=$2 pid at
    shift 2
    "$@" >"$scratch/out" 2>"$scratch/err" &
    pid=$!
    killed=0
    if [ "$(random 3)" = 0 ]; then
        # The n-th such file that is seen.
        local skip
        skip=$(random 6)
        while kill -0 $pid 2>/dev/null; do
            if being_written "$watched"; then
                [ "$skip" -gt 0 ] || break
                skip=$((skip - 1))
                while being_written "$watched" && kill -0 $pid 2>/dev/null; do :; done
            fi
        done
    else
        at=$(random "$limit")
        sleep "$((at / 1000)).$(printf %03d $((at % 1000)))"
    fi
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    code=$?
    [ $code = 137 ] && killed=1
}

phase() { # phase RUN: what a killed training run was doing
    local log=$1/log.jsonl
    if [ ! -e "$1/config.json" ]; then echo "before it wrote anything"
    elif [ -n "$(find "$1" -name '*.tmp' -newer "$scratch/start")" ]; then echo "while it wrote a checkpoint or another file"
    elif ! grep -q '"event":"step"' "$log" 2>/dev/null; then echo "while it read data or evaluated"
    elif [ -e "$1/loss.svg" ]; then echo "after its last step"
    else echo "between steps"
    fi
}

# One run, killed again and again until it ends by itself.
train_lane() {
    local run=$scratch/run method=$1 tries=0
    rm -rf "$run"
    note "run"
    while :; do
        local command=("$nola" train ${settings[$method]} --out "$run")
        [ ! -e "$run/last.safetensors" ] || command=("$nola" train --resume --out "$run" --threads 1 --device cpu)
        touch "$scratch/start"
        tries=$((tries + 1))
        # The log as it was, whose whole lines must not be lost.
        if [ $tries -gt 12 ] || [ "$(wanted)" -le 0 ]; then
            "${command[@]}" >"$scratch/out" 2>"$scratch/err"
            code=$? killed=0
        else
            kill_at_random "$longest" "$run" "${command[@]}"
        fi
        if [ $killed = 1 ]; then
            note "kill train $(phase "$run")"
            continue
        fi
        [ $code = 0 ] && break
        wrong "train ended with code $code: $(tail -n 1 "$scratch/err")" "$scratch"
        return
    done
    local what
    if what=$(same_run "$run" "$work/reference-$method"); then note "same train"; else wrong "$what" "$run"; fi
}

# A command that writes a file or a directory: whole or not there after a kill, and whole after it was given again.
output_lane() {
    local name=$1 out=$scratch/output what
    rm -rf "$out"* && mkdir -p "$out"
    local target=$out/${targets[$name]} reference=$work/output-$name
    note "run"
    while [ "$(wanted)" -gt 0 ]; do
        touch "$scratch/start"
        kill_at_random "${durations[$name]}" "$out" ${commands[$name]} "$target"
        [ $killed = 1 ] || break
        note "kill $name $([ -n "$(find "$out" -name '*.tmp')" ] && echo "while it wrote" || echo "before or after it wrote")"
        what=$(whole_or_absent "$out" "$reference") || { wrong "$name: $what" "$out"; return; }
        [ "$(random 3)" != 0 ] || break
    done
    # Some commands do not write over what is there, so what is there must be whole.
    ${commands[$name]} "$target" >"$scratch/out" 2>"$scratch/err"
    code=$?
    if [ $code != 0 ] && ! grep -qE 'already' "$scratch/err"; then
        wrong "$name ended with code $code: $(tail -n 1 "$scratch/err")" "$scratch"
        return
    fi
    if what=$(same_files "$out" "$reference") && what=$(no_leftovers "$out"); then note "same $name"; else wrong "$name: $what" "$out"; fi
}

whole_or_absent() { # whole_or_absent DIRECTORY REFERENCE
    local file
    while read -r file; do
        cmp -s "$1/$file" "$2/$file" || { echo "$file is torn"; return 1; }
    done < <(cd "$1" && find . -type f ! -name '*.tmp' ! -name '.probe*')
}

# An experiment, killed and given again until it is done.
experiment_lane() {
    local out=$scratch/experiment tries=0 what file
    local command=("$nola" experiment "$work/experiment.json" --out "$out" --threads 1 --device cpu)
    rm -rf "$out"
    note "run"
    while :; do
        touch "$scratch/start"
        tries=$((tries + 1))
        if [ $tries -gt 12 ] || [ "$(wanted)" -le 0 ]; then
            "${command[@]}" >"$scratch/out" 2>"$scratch/err"
            code=$? killed=0
        else
            kill_at_random "$((3 * longest))" "$out" "${command[@]}"
        fi
        [ $killed = 1 ] || break
        note "kill experiment in a run or between two"
    done
    [ $code = 0 ] || { wrong "experiment ended with code $code: $(tail -n 1 "$scratch/err")" "$scratch"; return; }
    what=$(no_leftovers "$out") || { wrong "experiment: $what" "$out"; return; }
    while read -r file; do
        cmp -s "$out/$file" "$work/reference-experiment/$file" && continue
        wrong "experiment: $file differs from an uninterrupted run's" "$out"
        return
    done < <(cd "$work/reference-experiment" && find . -name adapter.safetensors)
    note "same experiment"
}

wanted() { echo $((share - $(grep -c '^kill' "$journal"))); }

lane() { # lane NUMBER SHARE
    lane=$1 share=$2 journal=$work/journal-$1 scratch=$work/lane-$1
    RANDOM=$((seed + lane))
    mkdir -p "$scratch" && : >"$journal"
    while [ "$(wanted)" -gt 0 ]; do
        case $(random 10) in
        0) experiment_lane ;;
        1 | 2) output_lane "${outputs[$(random ${#outputs[@]})]}" ;;
        3 | 4) train_lane lora ;;
        *) train_lane nola ;;
        esac
    done
}

# The uninterrupted runs that everything is compared with.
prepare() {
    declare -gA settings durations
    data "$work"
    settings[nola]="$(settings "$work") --rank 2 --bases 8" settings[lora]="$(settings "$work") --method lora --rank 2"
    local from
    from=$(now)
    for method in nola lora; do
        "$nola" train ${settings[$method]} --out "$work/reference-$method" >/dev/null 2>"$work/err" || { cat "$work/err"; exit 1; }
    done
    longest=$((($(now) - from) * 55 / 100))
    output_commands "$work" "$work/reference-lora/adapter.safetensors"
    for name in "${outputs[@]}"; do
        mkdir -p "$work/output-$name"
        from=$(now)
        ${commands[$name]} "$work/output-$name/${targets[$name]}" >/dev/null 2>"$work/err" || { cat "$work/err"; exit 1; }
        durations[$name]=$((($(now) - from) * 11 / 10))
    done
    cat >"$work/experiment.json" <<JSON
{"name": "kill", "settings": {"data": "$work/train.jsonl", "valid": "$work/valid.jsonl", "targets": "q,v", "batch-tokens": 96, "epochs": 20,
 "max-steps": 10, "eval-every": 5, "eval-pairs": 4, "checkpoint-every": 3, "warmup": 2}, "test": "$work/valid.jsonl", "seeds": [1, 2],
 "methods": [{"name": "base", "method": "base"}, {"name": "nola", "rank": 2, "bases": 8}, {"name": "nola-4", "of": "nola", "bits": 4}]}
JSON
    "$nola" experiment "$work/experiment.json" --out "$work/reference-experiment" --threads 1 --device cpu \
        >/dev/null 2>"$work/err" || { cat "$work/err"; exit 1; }
}

report() {
    cat "$work"/journal-* >"$work/journal"
    local done_ runs same wrong_
    done_=$(grep -c '^kill' "$work/journal") runs=$(grep -c '^run' "$work/journal")
    same=$(grep -c '^same' "$work/journal") wrong_=$(grep -c '^wrong' "$work/journal")
    printf '%s kills of %s runs in %s s, %s side by side, seed %s: %s gave what an uninterrupted run gives, %s did not.\n\n' \
        "$done_" "$runs" $((($(now) - began) / 1000)) "$jobs" "$seed" "$same" "$wrong_"
    printf '| killed | kills |\n|---|---:|\n'
    grep '^kill' "$work/journal" | sed -E 's/^kill ([a-z]+) /\1: /' | sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)/| \2 | \1 |/'
    printf '| all | %s |\n' "$done_"
    grep '^wrong' "$work/journal" | sort | uniq -c
    [ "$wrong_" = 0 ] && [ "$same" = "$runs" ]
}

prepare
for ((i = 1; i <= jobs; i++)); do lane "$i" $((kills / jobs + (i <= kills % jobs ? 1 : 0))) & done
wait
report >"$work/report"
code=$?
cat "$work/report"
[ -z "${REPORT:-}" ] || cp "$work/report" "$REPORT"
exit $code
