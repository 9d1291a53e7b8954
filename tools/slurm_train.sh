#!/usr/bin/env bash
# Train on a Slurm cluster.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of train.py]
#
# GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS are taken from the
# environment. GPUS_PER_NODE=0 asks for no GPU: TASKS_PER_NODE processes
# then train on the CPU.
#
# In a batch job, `#SBATCH --signal=B:USR1@300` (seconds before the end) and
# `#SBATCH --requeue` let the training save and the job be queued anew, in
# which it goes on. The batch script must end with `exec tools/slurm_train.sh
# ...`: Slurm signals the batch shell alone. REQUEUE=0 leaves that out: the
# exit code is then 75.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [arguments of train.py]" >&2
    exit 2
fi

PARTITION=$1
JOB_NAME=$2
CONFIG=$3
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
TASKS_PER_NODE=${TASKS_PER_NODE:-$GPUS_PER_NODE}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}
HERE=$(cd "$(dirname "$0")" && pwd)

RESOURCES=()
if [ "$GPUS_PER_NODE" -gt 0 ]; then
    RESOURCES+=("--gres=gpu:$GPUS_PER_NODE")
fi

# One task that ends lets Slurm end the others, perhaps before they gave their
# code: rank 0, on the node of a batch script, says what it was.
STOP_FILE=$(mktemp)
export AHPCL_STOP_FILE=$STOP_FILE
trap 'rm -f "$STOP_FILE"' EXIT

RESUME=()
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    RESUME=(--resume)
fi

# SRUN_ARGS is a list of words.
# shellcheck disable=SC2086
srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    ${RESOURCES[@]+"${RESOURCES[@]}"} \
    --ntasks="$GPUS" \
    --ntasks-per-node="$TASKS_PER_NODE" \
    --cpus-per-task="$CPUS_PER_TASK" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$HERE/train.py" "$CONFIG" \
    --launcher slurm "${@:4}" ${RESUME[@]+"${RESUME[@]}"} &
STEP=$!

# srun passes signals on to the processes.
SIGNALLED=0
for NAME in USR1 TERM INT; do
    # shellcheck disable=SC2064
    trap "SIGNALLED=1; kill -$NAME $STEP 2>/dev/null || true" "$NAME"
done

# A trap ends `wait` with a code of its own: only one without is the step's.
while :; do
    SIGNALLED=0
    wait "$STEP" && CODE=0 || CODE=$?
    [ "$SIGNALLED" = 1 ] || break
done
if [ -s "$STOP_FILE" ]; then
    CODE=$(cat "$STOP_FILE")
fi
if [ "$CODE" = 75 ] && [ -n "${SLURM_JOB_ID:-}" ] && [ "${REQUEUE:-1}" = 1 ]
then
    echo "stopped by a signal: job $SLURM_JOB_ID is queued anew"
    CODE=0
    scontrol requeue "$SLURM_JOB_ID" || CODE=$?
fi
exit "$CODE"
