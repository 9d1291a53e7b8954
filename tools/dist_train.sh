#!/usr/bin/env bash
# Train with several processes on one machine, or on each of several.
#
#   tools/dist_train.sh CONFIG PROCESSES [arguments of train.py]
#
# PROCESSES is the number of GPUs, or of processes on a machine without one.
# PORT, NNODES, NODE_RANK and MASTER_ADDR are taken from the environment, and
# MAX_RESTARTS (0): how often all processes are started again after one failed;
# they go on from the last checkpoint.
#
# SIGTERM, SIGUSR1 and Ctrl-C stop as they stop train.py: 75 and 130 are exit
# codes of a training that --resume continues.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: $0 CONFIG PROCESSES [arguments of train.py]" >&2
    exit 2
fi

CONFIG=$1
PROCESSES=$2
HERE=$(cd "$(dirname "$0")" && pwd)
# Threads of each process, unless set: their share of the machine.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

STOP_FILE=$(mktemp)
export AHPCL_STOP_FILE=$STOP_FILE
trap 'rm -f "$STOP_FILE"' EXIT

WHERE=${MASTER_ADDR:-127.0.0.1}
PORT=${PORT:-29500}
RENDEZVOUS=(
    --node_rank="${NODE_RANK:-0}" --master_addr="$WHERE" --master_port="$PORT"
)
if [ "${MAX_RESTARTS:-0}" -gt 0 ]; then
    # The other kind gives processes that are started again the addresses of
    # those that are gone.
    RENDEZVOUS=(
        --rdzv-backend=c10d --rdzv-endpoint="$WHERE:$PORT" --rdzv-id="$PORT"
        --max-restarts="$MAX_RESTARTS"
    )
fi

# torchrun does not know SIGUSR1, and kills 30 s after another signal: the
# processes are told themselves, to let them finish a long step.
AGENT=
SIGNALLED=0
ASKED=
TOLD=0
RANKS=()
LISTENING=()

# Who torchrun's processes are, and which of them catch SIGTERM, which Python
# alone does not: train.py catches it from before the first step on. Without a
# program: a signal to the group would end that as well.
look() {
    local status key value parent caught
    RANKS=() LISTENING=()
    for status in /proc/[0-9]*/status; do
        parent='' caught=0
        {
            while read -r key value _; do
                case $key in
                    PPid:) parent=$value ;;
                    SigCgt:) caught=$value ;;
                esac
            done <"$status"
        } 2>/dev/null || continue
        if [ "$parent" != "$AGENT" ]; then
            continue
        fi
        status=${status#/proc/}
        RANKS+=("${status%/status}")
        if [ $((0x$caught >> 14 & 1)) = 1 ]; then
            LISTENING+=("${status%/status}")
        fi
    done
}

# end_at_once EXIT_CODE
end_at_once() {
    # Frozen, it starts no other process.
    kill -STOP "$AGENT" 2>/dev/null || true
    look
    # torchrun gives each process a session of its own.
    kill -KILL ${RANKS[@]+"${RANKS[@]}"} "$AGENT" 2>/dev/null || true
    exit "$1"
}

# All ranks end when one was told. While none listens and none was told,
# nothing was trained that is not saved: before the first step, and before
# torchrun has processes or between two starts of them.
pass_on() {
    local pid
    look
    for pid in ${LISTENING[@]+"${LISTENING[@]}"}; do
        if kill -"$1" "$pid" 2>/dev/null; then
            TOLD=1
        fi
    done
    if [ "$TOLD" = 0 ]; then
        echo "stopped by a signal that no process listens to (exit code $2)"
        end_at_once "$2"
    fi
}

# asked SIGNAL EXIT_CODE
asked() {
    SIGNALLED=1
    if [ "$1" = INT ] && [ "$ASKED" = INT ] && [ -n "$AGENT" ]; then
        end_at_once 130
    fi
    ASKED=$1
    if [ -n "$AGENT" ]; then
        pass_on "$1" "$2"
    fi
}
trap 'asked USR1 75' USR1
trap 'asked TERM 75' TERM HUP
trap 'asked INT 130' INT

# In a session of its own: a terminal's Ctrl-C goes to all of a group, and
# torchrun would pass on a second one, which ends the processes at once.
setsid "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --nproc_per_node="$PROCESSES" \
    "${RENDEZVOUS[@]}" \
    "$HERE/train.py" "$CONFIG" --launcher pytorch "${@:3}" &
AGENT=$!
# What came before there was anybody to tell.
case $ASKED in
    '') ;;
    INT) pass_on INT 130 ;;
    *) pass_on "$ASKED" 75 ;;
esac

# A trap ends `wait` with a code of its own: only one without is torchrun's.
while :; do
    SIGNALLED=0
    wait "$AGENT" && CODE=0 || CODE=$?
    [ "$SIGNALLED" = 1 ] || break
done
if [ -s "$STOP_FILE" ]; then
    CODE=$(cat "$STOP_FILE")
fi
exit "$CODE"
