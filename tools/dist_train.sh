#!/usr/bin/env bash
# Train with several processes on one machine, or on each of several.
#
#   tools/dist_train.sh CONFIG PROCESSES [arguments of train.py]
#
# PROCESSES is the number of GPUs, or of processes on a machine without one.
# PORT, NNODES, NODE_RANK and MASTER_ADDR are taken from the environment, and
# MAX_RESTARTS (0): how often all processes are started anew after one failed;
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
    # The other kind gives processes that are started anew the addresses of
    # those that are gone.
    RENDEZVOUS=(
        --rdzv-backend=c10d --rdzv-endpoint="$WHERE:$PORT" --rdzv-id="$PORT"
        --max-restarts="$MAX_RESTARTS"
    )
fi

# In a session of its own: a terminal's Ctrl-C goes to all of a group, and
# torchrun would pass on a second one, which ends the processes at once.
setsid "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --nproc_per_node="$PROCESSES" \
    "${RENDEZVOUS[@]}" \
    "$HERE/train.py" "$CONFIG" --launcher pytorch "${@:3}" &
AGENT=$!

# torchrun does not know SIGUSR1, and kills 30 s after another signal: the
# processes are told themselves, to let them finish a long step.
pass_on() {
    local pid parent
    for pid in /proc/[0-9]*; do
        parent=$(awk '/^PPid:/ {print $2}' "$pid/status" 2>/dev/null) || true
        if [ "$parent" = "$AGENT" ]; then
            kill -"$1" "${pid#/proc/}" 2>/dev/null || true
        fi
    done
}
SIGNALLED=0
trap 'SIGNALLED=1; pass_on USR1' USR1
trap 'SIGNALLED=1; pass_on TERM' TERM HUP
INTERRUPTS=0
interrupt() {
    SIGNALLED=1
    INTERRUPTS=$((INTERRUPTS + 1))
    if [ "$INTERRUPTS" = 1 ]; then
        pass_on INT
    else
        # torchrun gives each process a session of its own.
        pass_on KILL
        kill -KILL "$AGENT" 2>/dev/null || true
        exit 130
    fi
}
trap interrupt INT

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
