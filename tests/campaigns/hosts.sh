#!/usr/bin/env bash
# Ranks on several hosts: network namespaces of this machine, each with a name and an address of its own, that reach each other over a
# bridge alone. On each MPI, three hosts must train the bits of one process; then one of them loses its network in the middle of a run:
# all ranks must end within 40 seconds, with a sentence, and the resumed run, on two hosts, must give the same bits.
#   tests/campaigns/hosts.sh     REPORT=FILE keeps the table. Needs root, iproute2 and mpirun of Open MPI or MPICH
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ "$(id -u)" = 0 ] && command -v ip >/dev/null && command -v unshare >/dev/null || { echo "0 hosts: this needs root, ip and unshare; nothing was run."; exit 0; }
tool
net=10.77.0 bridge=nola-bridge
work=$(mktemp -d "${TMPDIR:-/tmp}/nola-hosts.XXXXXX")

leave() {
    local i
    for i in 1 2 3; do
        ip netns pids nola-host$i 2>/dev/null | xargs -r kill -9 2>/dev/null
        ip netns del nola-host$i 2>/dev/null
    done
    ip link del $bridge 2>/dev/null
    rm -rf "$work"
}
trap leave EXIT

hosts() { # three of them on one bridge
    ip link add $bridge type bridge && ip link set $bridge up || exit 1
    local i
    for i in 1 2 3; do
        ip netns add nola-host$i && ip link add nola-link$i type veth peer name eth0 netns nola-host$i || exit 1
        ip link set nola-link$i master $bridge up
        ip -n nola-host$i addr add $net.$i/24 dev eth0
        ip -n nola-host$i link set eth0 up
        ip -n nola-host$i link set lo up
    done
}

# What launchers use in place of ssh: host $net.N is namespace N, under a name of its own.
cat >"$work/remote" <<'END'
#!/usr/bin/env bash
host=$1 && shift
while [ "${1#-}" != "$1" ]; do shift; done
exec ip netns exec nola-host${host##*.} unshare --uts bash -c 'hostname "$0" && exec bash -c "$*"' host${host##*.} "$@"
END
chmod +x "$work/remote"

ranks() { # ranks LAUNCHER HOSTS ARGUMENTS...: the tool, one rank on each host, started on the first
    local launcher=$1 count=$2 list own
    shift 2
    list=$(seq -s, -f "$net.%g" 1 "$count")
    case $launcher in
    mpirun.openmpi) own="--mca plm_rsh_agent $work/remote --mca btl tcp,self --mca oob_tcp_if_include $net.0/24 --mca btl_tcp_if_include $net.0/24 -host $list" ;;
    *) own="-launcher rsh -launcher-exec $work/remote -ppn 1 -hosts $list" ;;
    esac
    # UCX, below MPICH, would see that the hosts are one machine, and talk through its memory.
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 UCX_TLS=tcp,self FI_PROVIDER=tcp \
        "$work/remote" $net.1 "exec $launcher $own -n $count $nola $*" >"$work/out" 2>"$work/err"
}

wrong() {
    echo "WRONG: $1" >&2
    tail -n 5 "$work/err" "$work/out" >&2
    failed=1
}

gone() { # whether no rank of a run is there any more
    ! pgrep -f -- "^$nola train .*--out $1" >/dev/null
}

row() { # row LAUNCHER WHAT RESULT
    echo "| $1 | $2 | $3 |" | tee -a "$work/report"
}

same_bits() { # same_bits LAUNCHER WHAT HOSTS RUN ARGUMENTS...: ranks must end with the bits of one process
    local launcher=$1 what=$2 count=$3 run=$4 why="it failed"
    shift 4
    if ranks "$launcher" "$count" train "$@" --out "$run" && why=$(same_run "$run" "$work/reference"); then
        row "$launcher" "$what" "the bits of one process"
    else
        row "$launcher" "$what" "WRONG: $why"
        wrong "$launcher, $what: $why"
    fi
}

one_launcher() {
    local launcher=$1 run=$work/$1 from took said
    same_bits "$launcher" "train on 3 hosts" 3 "$run-bits" "$settings"
    ranks "$launcher" 3 train "$settings" --out "$run-lost" &
    local all=$!
    until [ -e "$run-lost/last.safetensors" ] || ! kill -0 $all 2>/dev/null; do sleep 0.1; done
    ip -n nola-host3 link set eth0 down
    from=$(now)
    until gone "$run-lost" || [ $(($(now) - from)) -gt 60000 ]; do sleep 0.2; done
    took=$((($(now) - from) / 1000))
    pkill -9 -f "$launcher.*$run-lost" 2>/dev/null
    wait $all 2>/dev/null
    said=$(grep -ohE 'Rank [0-9]+ on [^ ]+ is gone[^,.]*' "$work/out" "$work/err" | head -n 1)
    row "$launcher" "host3 loses its network" "all ended after $took s: ${said:-the launcher ended them}"
    [ "$took" -le 40 ] || wrong "$launcher: ranks took $took s to end"
    ip -n nola-host3 link set eth0 up
    same_bits "$launcher" "resume on 2 hosts" 2 "$run-lost" --resume --device cpu
}

failed=0
data "$work"
settings="$(settings "$work" | tr -s '\n ' ' ' | sed 's/--max-steps 30/--max-steps 300/; s/--epochs 20/--epochs 9999/') --shards 4 --rank 2 --bases 8"
"$nola" train $settings --out "$work/reference" >/dev/null 2>"$work/err" || { cat "$work/err"; exit 1; }
hosts
printf '| MPI | what | result |\n|---|---|---|\n' | tee "$work/report"
for launcher in mpirun.openmpi mpirun.mpich; do
    command -v $launcher >/dev/null && one_launcher $launcher
done
[ -z "${REPORT:-}" ] || cp "$work/report" "$REPORT"
exit $failed
