#!/usr/bin/env bash
# Kills a random rank (kill -9) at random moments of a training on several ranks: the others must end within 30 seconds with a sentence,
# and what a resumed run gives, with another number of ranks, must be what one uninterrupted process gives, bit for bit.
#   tests/campaigns/mpi.sh [KILLS]     20 kills; REPORT=FILE keeps the table, SEED=N chooses ranks and moments
# Needs mpirun of Open MPI or MPICH, and uses both by turns where both are there. Where there is none, nothing is run, and that is said.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
kills=${1:-20} seed=${SEED:-$RANDOM}
RANDOM=$seed
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
launchers=()
for name in mpirun.openmpi mpirun.mpich; do command -v $name >/dev/null && launchers+=($name); done
[ ${#launchers[@]} -gt 0 ] || { command -v mpirun >/dev/null && launchers=(mpirun); }
if [ ${#launchers[@]} = 0 ]; then
    echo "0 kills of ranks: there is no mpirun here (Debian: openmpi-bin or mpich), so that nothing was run."
    exit 0
fi
tool
work=$(mktemp -d "${TMPDIR:-/tmp}/nola-ranks.XXXXXX") journal=
trap 'rm -rf "$work"' EXIT
journal=$work/journal && : >"$journal"
began=$(now)

wrong() {
    echo "wrong $1" >>"$journal"
    echo "WRONG: $1" >&2
    sed 's/^/       /' "$work/err" >&2
}

rank_process() { # rank_process RUN RANK: the process of a rank of a run
    local process
    for process in $(pgrep -f -- "--out $1" || true); do
        { tr '\0' '\n' <"/proc/$process/environ"; } 2>/dev/null | grep -qxE "(OMPI_COMM_WORLD_RANK|PMI_RANK)=$2" || continue
        [ "$(readlink "/proc/$process/exe")" = "$(readlink -f "$nola")" ] || continue
        echo "$process"
        return 0
    done
    return 1
}

# One start of a run on some ranks, of which one is killed. 0: the run ended by itself; 1: it was killed; 2: something is wrong.
start() { # start METHOD RUN RANKS LAUNCHER
    local command=(train ${settings[$1]} --out "$2") victim process from code
    [ ! -e "$2/last.safetensors" ] || command=(train --resume --out "$2" --device cpu)
    "$4" -n "$3" "$nola" "${command[@]}" >"$work/out" 2>"$work/err" &
    local launcher=$!
    victim=$(random "$3")
    if [ "$(grep -c '^kill' "$journal")" -lt "$kills" ]; then
        local at
        at=$((500 + $(random 8000)))
        sleep "$((at / 1000)).$(printf %03d $((at % 1000)))"
        process=$(rank_process "$2" "$victim") && kill -9 "$process" 2>/dev/null && echo "kill $4 rank $([ "$victim" = 0 ] && echo 0 || echo 'other than 0')" >>"$journal"
    else
        process=
    fi
    from=$(now)
    wait $launcher
    code=$?
    [ -n "$process" ] || { [ $code = 0 ] && return 0; wrong "$4 -n $3 ended with code $code"; return 2; }
    [ $code != 0 ] || return 0
    [ $(($(now) - from)) -lt 30000 ] || { wrong "the others took $((($(now) - from) / 1000)) s to end"; return 2; }
    grep -qE 'Rank [0-9]+ on .* (is gone|ended)' "$work/err" && echo "said by a rank" >>"$journal" || echo "said by the launcher" >>"$journal"
    [ -s "$work/err" ] || [ -s "$work/out" ] || { wrong "nobody said anything"; return 2; }
    ! grep -qE '^ +at |Unhandled exception' "$work/err" || { wrong "a stack trace"; return 2; }
    return 1
}

prepare() {
    declare -gA settings
    data "$work"
    local common
    common="$(settings "$work" | sed 's/--threads 1//') --shards 4"
    settings[nola]="$common --rank 2 --bases 8" settings[lora]="$common --method lora --rank 2"
    for method in nola lora; do
        "$nola" train ${settings[$method]} --threads 1 --out "$work/reference-$method" >/dev/null 2>"$work/err" || { cat "$work/err"; exit 1; }
    done
}

report() {
    local done_ same wrong_
    done_=$(grep -c '^kill' "$journal") same=$(grep -c '^same' "$journal") wrong_=$(grep -c '^wrong' "$journal")
    printf '%s kills of a rank in %s s, seed %s: %s runs gave what one uninterrupted process gives, %s did not.\n\n' \
        "$done_" $((($(now) - began) / 1000)) "$seed" "$same" "$wrong_"
    printf '| what | times |\n|---|---:|\n'
    grep -E '^(kill|said)' "$journal" | sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)/| \2 | \1 |/'
    grep '^wrong' "$journal" | sort | uniq -c
    [ "$wrong_" = 0 ] && [ "$done_" -ge "$kills" ]
}

prepare
for ((i = 0; $(grep -c '^kill' "$journal") < kills && $(grep -c '^wrong' "$journal") < 5; i++)); do
    method=$([ $((i % 2)) = 0 ] && echo nola || echo lora)
    run=$work/run-$i
    while :; do
        start $method "$run" $((2 + $(random 3))) "${launchers[$(random ${#launchers[@]})]}"
        case $? in
        0)
            if what=$(same_run "$run" "$work/reference-$method"); then echo same >>"$journal"; else wrong "$what"; fi
            break
            ;;
        2) break ;;
        esac
    done
done
report >"$work/report"
code=$?
cat "$work/report"
[ -z "${REPORT:-}" ] || cp "$work/report" "$REPORT"
exit $code
