#!/usr/bin/env bash
# Train with several processes on one machine, or on each of several.
#
#   tools/dist_train.sh CONFIG PROCESSES [arguments of train.py]
#
# PROCESSES is the number of GPUs, or of processes on a machine without one.
# PORT, NNODES, NODE_RANK and MASTER_ADDR are taken from the environment.
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

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$PROCESSES" \
    "$HERE/train.py" "$CONFIG" --launcher pytorch "${@:3}"
