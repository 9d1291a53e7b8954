"""Starts a test's worker on several processes."""

import os
import socket
import subprocess
import sys


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def torchrun(worker, *arguments, processes=2, timeout=1200):
    """Run ``worker`` under torchrun on a free port; fail as it fails."""
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run'),
            *(f'--nproc_per_node={processes}', f'--master_port={free_port()}'),
            *map(str, (worker, *arguments)),
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr[-3000:]
