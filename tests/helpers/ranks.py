"""Runs a test's worker on several ranks."""

import os
import socket
import subprocess
import sys
import time

import processes


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def torchrun(worker, *arguments, ranks=2, timeout=1200):
    """Run ``worker`` under torchrun on a free port; fail as it fails."""
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run'),
            *(f'--nproc_per_node={ranks}', f'--master_port={free_port()}'),
            *map(str, (worker, *arguments)),
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def run_ranks(worker, folder, *arguments, ranks=2, timeout=1200):
    """Run ``worker`` as torchrun does, in forks; fail as a rank fails.

    Args:
        worker: A Python file, which finds its rank in the environment.
        folder: Its first argument; what the ranks print goes there, too.
        arguments: Further ones.
        ranks: How many processes.
        timeout: Seconds until all are killed.
    """
    env = {
        **os.environ,
        **dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port())),
        **dict(WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks)),
    }
    started = []
    for rank in range(ranks):
        said = folder / f'output_{rank}.txt'
        env.update(RANK=str(rank), LOCAL_RANK=str(rank))
        started.append(
            processes.start(
                worker, folder, *arguments, env=env, stdout=said, stderr=said
            )
        )
    end = time.monotonic() + timeout
    try:
        while any(process.exitcode is None for process in started):
            codes = [process.exitcode for process in started]
            assert not any(codes), _last_words(folder, codes)
            assert time.monotonic() < end, f'not done in {timeout} s'
            time.sleep(0.05)
        codes = [process.exitcode for process in started]
        assert not any(codes), _last_words(folder, codes)
    finally:
        for process in started:
            process.kill()
            process.join()


def _last_words(folder, codes):
    return '\n'.join(
        f'rank {rank} ended with {code}: '
        + (folder / f'output_{rank}.txt').read_text()[-3000:]
        for rank, code in enumerate(codes)
        if code
    )
