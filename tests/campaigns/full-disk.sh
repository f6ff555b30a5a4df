#!/usr/bin/env bash
# Lets the disk fill up while the tool writes: it must end with one sentence and code 1, leave whole what was there, and, once there
# is space again, give what it gives on an empty disk, bit for bit.
#   tests/campaigns/full-disk.sh [DISKS]     20 disks; REPORT=FILE keeps the table, SEED=N chooses sizes and commands
# Disks are small tmpfs mounts: that takes root, or user namespaces. Where neither is allowed, nothing is run, and that is said.
if [ -z "${NOLA_FULL_DISK_INSIDE:-}" ] && [ "$(id -u)" != 0 ]; then
    export NOLA_FULL_DISK_INSIDE=1
    unshare -rm true 2>/dev/null && exec unshare -rm "$0" "$@"
fi
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
disks=${1:-20} seed=${SEED:-$RANDOM}
RANDOM=$seed
work=$(mktemp -d "${TMPDIR:-/tmp}/nola-disk.XXXXXX")
disk=$work/disk journal=$work/journal lane=disk
mkdir -p "$disk" && : >"$journal"
trap 'umount "$disk" 2>/dev/null; rm -rf "$work"' EXIT
if ! mount -t tmpfs -o size=64k tmpfs "$disk" 2>/dev/null; then
    echo "0 full disks: no small disk can be mounted here (that takes root or user namespaces), so that nothing was run."
    exit 0
fi
umount "$disk"
tool
began=$(now)

note() { echo "$*" >>"$journal"; }

wrong() {
    note "wrong $1"
    echo "WRONG: $1" >&2
    sed 's/^/       /' "$work/err" >&2
}

# A disk of some kilobytes, and as much of it as was there before.
new_disk() { # new_disk KILOBYTES
    umount "$disk" 2>/dev/null
    mount -t tmpfs -o size="$1k" tmpfs "$disk"
}

# The command's end on a disk that may have filled up: 0 fitted, 1 did not and said so, 2 anything else.
ended() { # ended NAME CODE
    local what
    [ "$2" = 0 ] && return 0
    [ "$2" = 1 ] || { wrong "$1 ended with code $2 on a full disk"; return 2; }
    what=$(one_sentence "$work/err") || { wrong "$1: $what"; return 2; }
    grep -q 'the disk is full' "$work/err" || { wrong "$1 does not say that the disk is full"; return 2; }
    return 1
}

# A run on a disk that fills up, resumed when there is space, perhaps filling that up too.
train() { # train METHOD
    local run=$disk/run size code what full=0 command
    size=$((4 * (2 + $(random "${pages[$1]}"))))
    new_disk "$size"
    while :; do
        command=("$nola" train ${settings[$1]} --out "$run")
        [ ! -e "$run/last.safetensors" ] || command=("$nola" train --resume --out "$run" --threads 1 --device cpu)
        "${command[@]}" >"$work/out" 2>"$work/err"
        code=$?
        ended train $code
        case $? in
        0) break ;;
        1) full=$((full + 1)) ;;
        *) return ;;
        esac
        note "full train $(moment "$run")"
        what=$(no_leftovers "$run") || { wrong "train on a full disk: $what"; return; }
        size=$((size + 4 * (1 + $(random 8))))
        [ $full -lt 4 ] || size=65536
        mount -o remount,size="${size}k" "$disk"
    done
    [ $full -gt 0 ] || note "fitted train"
    if what=$(same_run "$run" "$work/reference-$1"); then note "same train"; else wrong "train: $what"; fi
}

moment() { # moment RUN: how far a run came
    if [ ! -s "$1/config.json" ]; then echo "before its first step"
    elif ! grep -q '"event":"step"' "$1/log.jsonl" 2>/dev/null; then echo "before its first step"
    elif [ ! -e "$1/last.safetensors" ]; then echo "before its first checkpoint"
    elif [ "$(losses "$1/log.jsonl" | grep -c '^step')" -lt 30 ]; then echo "between checkpoints"
    else echo "at its end"
    fi
}

# A command that writes a file or a directory, beside or over what was there.
output() { # output NAME
    local name=$1 target=$disk/out/${targets[$1]} reference=$work/output-$1 code what size
    size=$(du -sk --apparent-size "$reference" | cut -f1)
    new_disk "$((4 + $(random $((size + 8)))))"
    mkdir "$disk/out"
    # Where a command writes over a file, the old one must stay as it was.
    local old=
    if [[ " convert generate " == *" $name "* ]] && printf 'old\n' >"$target"; then old=yes; fi
    ${commands[$name]} "$target" >"$work/out" 2>"$work/err"
    code=$?
    ended "$name" $code
    case $? in
    0) note "fitted $name" ;;
    1)
        note "full $name while it wrote"
        [ -z "$old" ] || [ "$(cat "$target")" = old ] || { wrong "$name: the old file is not as it was"; return; }
        [ -n "$old" ] || what=$(no_torn "$disk/out" "$reference") || { wrong "$name: $what"; return; }
        what=$(no_leftovers "$disk/out") || { wrong "$name on a full disk: $what"; return; }
        mount -o remount,size=256m "$disk"
        ${commands[$name]} "$target" >"$work/out" 2>"$work/err" || { wrong "$name ended with code $? when there was space again"; return; }
        ;;
    *) return ;;
    esac
    if what=$(same_files "$disk/out" "$reference"); then note "same $name"; else wrong "$name: $what"; fi
}

no_torn() { # no_torn DIRECTORY REFERENCE
    local file
    while read -r file; do
        cmp -s "$1/$file" "$2/$file" || { echo "$file is torn"; return 1; }
    done < <(cd "$1" && find . -type f)
}

prepare() {
    declare -gA settings pages
    data "$work"
    settings[nola]="$(settings "$work") --rank 2 --bases 8" settings[lora]="$(settings "$work") --method lora --rank 2"
    local method used
    for method in nola lora; do
        "$nola" train ${settings[$method]} --out "$work/reference-$method" >/dev/null 2>"$work/err" || { cat "$work/err"; exit 1; }
        # Pages of everything, and of a checkpoint beside the one before it.
        used=$(find "$work/reference-$method" -type f -printf '%s\n' | awk '{ n += int(($1 + 4095) / 4096) } END { print n }')
        pages[$method]=$((used * 5 / 4))
    done
    output_commands "$work" "$work/reference-lora/adapter.safetensors"
    for name in "${outputs[@]}"; do
        mkdir -p "$work/output-$name"
        ${commands[$name]} "$work/output-$name/${targets[$name]}" >/dev/null 2>"$work/err" || { cat "$work/err"; exit 1; }
    done
}

report() {
    local full same wrong_ tried
    full=$(grep -c '^full' "$journal") same=$(grep -c '^same' "$journal") wrong_=$(grep -c '^wrong' "$journal")
    printf '%s full disks in %s s, seed %s: %s commands gave in the end what they give on an empty disk, %s did not.\n\n' \
        "$full" $((($(now) - began) / 1000)) "$seed" "$same" "$wrong_"
    printf '| the disk was full | disks |\n|---|---:|\n'
    grep '^full' "$journal" | sed -E 's/^full ([a-z]+) /\1: /' | sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)/| \2 | \1 |/'
    printf '| all | %s |\n' "$full"
    grep '^wrong' "$journal" | sort | uniq -c
    [ "$wrong_" = 0 ] && [ "$full" -ge "$disks" ]
}

prepare
while [ "$(grep -c '^full' "$journal")" -lt "$disks" ] && [ "$(grep -c '^wrong' "$journal")" -lt 20 ]; do
    case $(random 6) in
    0 | 1) output "${outputs[$(random ${#outputs[@]})]}" ;;
    2 | 3) train lora ;;
    *) train nola ;;
    esac
done
report >"$work/report"
code=$?
cat "$work/report"
[ -z "${REPORT:-}" ] || cp "$work/report" "$REPORT"
exit $code
