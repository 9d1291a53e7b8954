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
# `#SBATCH --requeue` let the training save and the job be queued again, in
# which it goes on. The batch script must end with `exec tools/slurm_train.sh
# ...`: Slurm signals the batch shell alone. REQUEUE=0 leaves that out: the
# exit code is then 75. A job that was queued again, by whomever, goes on from
# what it wrote itself.
#
# SIGUSR1, SIGTERM and Ctrl-C stop as they stop train.py. Only a job that Slurm
# still calls running is queued again: not one that is being cancelled. After
# Ctrl-C none is.
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

# Of these signals srun passes on SIGUSR1 alone: at SIGTERM and SIGHUP it kills
# the processes, as it does at a second SIGINT within a second of the first.
STEP=
SIGNALLED=0
ASKED=
asked() {
    SIGNALLED=1
    if [ "$1" = INT ] && [ "$ASKED" = INT ]; then
        if [ -n "$STEP" ]; then
            kill -TERM "$STEP" 2>/dev/null || true
        fi
        exit 130
    fi
    if [ "$ASKED" != INT ]; then
        ASKED=$1
    fi
    if [ -n "$STEP" ]; then
        kill -USR1 "$STEP" 2>/dev/null || true
    fi
}
trap 'asked USR1' USR1
trap 'asked TERM' TERM HUP
trap 'asked INT' INT

CODE=75
if [ -z "$ASKED" ]; then
    # In a session of its own: a terminal's Ctrl-C goes to all of a group.
    # SRUN_ARGS is a list of words.
    # shellcheck disable=SC2086
    setsid srun -p "$PARTITION" \
        --job-name="$JOB_NAME" \
        ${RESOURCES[@]+"${RESOURCES[@]}"} \
        --ntasks="$GPUS" \
        --ntasks-per-node="$TASKS_PER_NODE" \
        --cpus-per-task="$CPUS_PER_TASK" \
        --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$HERE/train.py" "$CONFIG" \
        --launcher slurm "${@:4}" &
    STEP=$!
    # What came before there was anybody to tell.
    if [ -n "$ASKED" ]; then
        kill -USR1 "$STEP" 2>/dev/null || true
    fi

    # A trap ends `wait` with a code of its own: only one without is the
    # step's.
    while :; do
        SIGNALLED=0
        wait "$STEP" && CODE=0 || CODE=$?
        [ "$SIGNALLED" = 1 ] || break
    done
fi
if [ -s "$STOP_FILE" ]; then
    CODE=$(cat "$STOP_FILE")
fi
# 138: SIGUSR1 ended the processes, which did not train yet.
if [ -n "$ASKED" ] && [ "$CODE" = 138 ]; then
    CODE=75
fi
if [ "$ASKED" = INT ] && [ "$CODE" = 75 ]; then
    CODE=130
fi
if [ "$CODE" = 75 ] && [ -n "${SLURM_JOB_ID:-}" ] && [ "${REQUEUE:-1}" = 1 ]
then
    # A signal may come from scancel: a job that is being cancelled must not
    # come back.
    STATE=$(scontrol show job "$SLURM_JOB_ID") || STATE=
    if [[ $STATE != *JobState=RUNNING* ]]; then
        echo "stopped by a signal: job $SLURM_JOB_ID is not running any more," \
            "so it is not queued again"
    elif scontrol requeue "$SLURM_JOB_ID"; then
        echo "stopped by a signal: job $SLURM_JOB_ID is queued again"
        CODE=0
    fi
fi
exit "$CODE"
