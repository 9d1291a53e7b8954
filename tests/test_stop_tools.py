"""Signals to the commands that users start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ahpcl.engine.checkpoint_files import good_checkpoint
from tools_modules import tool_modules

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / 'tools'

LISTENS = """
import time
from ahpcl.engine.stop_request import StopRequest
request = StopRequest()
with request.listening():
    print('ready', flush=True)
    for _ in range({loops}):
        time.sleep(0.05)
        if request.asked():
            print('asked', flush=True)
    raise SystemExit(request.asked())
"""


@pytest.fixture(scope='module')
def small():
    with tool_modules('reliability', '_small_run') as modules:
        yield modules['_small_run']


def wait_for(condition, process, timeout=300):
    """Until it holds; fails if the process ends before."""
    end = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, 'it ended'
        assert time.monotonic() < end, 'it never came'
        time.sleep(0.02)


def listener(loops):
    process = subprocess.Popen(
        [sys.executable, '-c', LISTENS.format(loops=loops)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'ready\n'
    return process


@pytest.mark.parametrize(
    ('number', 'code'),
    [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)],
)
def test_a_signal_is_remembered(number, code):
    process = listener(40)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert 'asked' in said
    assert process.returncode == code


def test_a_second_ctrl_c_ends_at_once():
    process = listener(20 * 3600)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == 'asked\n'
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130


def steps(folder):
    path = folder / 'moments.txt'
    return path.read_bytes().count(b'end step') if path.is_file() else 0


@pytest.fixture
def start(small, tmp_path):
    """Starts a run of so many ranks; kills what is left of it."""
    processes = []

    def start(ranks):
        config = small.write_config(tmp_path, ranks, 2, 'a test')
        work_dir = tmp_path / 'run'
        if ranks == 1:
            processes.append(small.start(config, work_dir, 1))
            return config, work_dir, processes[0]
        environment = {
            **os.environ,
            'PYTHON': sys.executable,
            'PYTHONPATH': str(TOOLS / 'reliability'),
            'PORT': '29677',
        }
        with (tmp_path / 'output.txt').open('ab') as output:
            process = subprocess.Popen(
                [
                    *('bash', str(TOOLS / 'dist_train.sh'), str(config)),
                    *(str(ranks), '--work-dir', str(work_dir)),
                ],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes.append(process)
        return config, work_dir, process

    yield start
    for process in processes:
        small.kill_all(process)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('ranks', 'number', 'code'),
    [
        (1, signal.SIGUSR1, 75),
        (2, signal.SIGUSR1, 75),
        # As a terminal sends it: to all of the group.
        (2, signal.SIGINT, 130),
        # As a terminal that is closed.
        (2, signal.SIGHUP, 75),
    ],
)
def test_training_stops_and_goes_on(
    small, start, tmp_path, ranks, number, code
):
    config, work_dir, process = start(ranks)
    wait_for(lambda: steps(tmp_path) >= 2, process)
    members = small.descendants(process.pid)
    if number == signal.SIGUSR1:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)
    said = tmp_path / 'output.txt'
    assert process.wait(timeout=300) == code, said.read_text()[-3000:]
    assert 'stopped by a signal' in said.read_text()
    saved = good_checkpoint(work_dir)
    assert '_batch_' in saved.name
    # Nobody is left behind.
    wait_gone(members)
    again = small.start(config, work_dir, ranks)
    assert again.wait(timeout=300) == 0, said.read_text()[-3000:]
    assert f'path: {saved}' in said.read_text()
    assert good_checkpoint(work_dir).name == 'epoch_2.pth'


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_no_rank(small, start, tmp_path):
    _, _, process = start(2)
    wait_for(lambda: steps(tmp_path) >= 1, process)
    members = small.descendants(process.pid)
    # A rank that does not answer: the first Ctrl-C alone ends nothing.
    rank = next(pid for pid in members if is_rank(pid))
    os.kill(rank, signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    wait_gone(members)


def is_rank(pid):
    command = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
    return (
        any(word.endswith(b'train.py') for word in command[:3])
        and b'torch.distributed.run' not in command
    )


def wait_gone(members, timeout=60):
    end = time.monotonic() + timeout
    while any(Path(f'/proc/{pid}/exe').exists() for pid in members):
        assert time.monotonic() < end, 'a process is left'
        time.sleep(0.1)


def slurm(folder, code, said='', **environment):
    """slurm_train.sh with programs that stand in for Slurm's."""
    environment['SAID'] = said
    for name, text in {
        'srun': 'echo "$@" >srun.txt; printf "$SAID" >"$AHPCL_STOP_FILE"; '
        f'exec {sys.executable} -c "import '
        'signal, sys; signal.signal(signal.SIGUSR1, lambda *_: '
        f"sys.exit({code})); open('ready', 'w').close(); "
        'signal.pause()"',
        'scontrol': 'echo "$@" >scontrol.txt',
    }.items():
        path = folder / name
        path.write_text(f'#!/usr/bin/env bash\n{text}\n')
        path.chmod(0o755)
    process = subprocess.Popen(
        ['bash', TOOLS / 'slurm_train.sh', 'gpu', 'job', 'config.py'],
        cwd=folder,
        env={
            **os.environ,
            'PATH': f'{folder}:{os.environ["PATH"]}',
            **environment,
        },
    )
    wait_for((folder / 'ready').exists, process)
    process.send_signal(signal.SIGUSR1)
    return process.wait(timeout=60)


def test_a_slurm_job_is_queued_anew(tmp_path):
    code = slurm(tmp_path, 75, SLURM_JOB_ID='17', SLURM_RESTART_COUNT='1')
    assert code == 0
    assert (tmp_path / 'scontrol.txt').read_text() == 'requeue 17\n'
    assert (tmp_path / 'srun.txt').read_text().endswith('slurm --resume\n')


def test_a_slurm_job_whose_tasks_were_ended_is_queued_anew(tmp_path):
    assert slurm(tmp_path, 143, said='75', SLURM_JOB_ID='17') == 0
    assert (tmp_path / 'scontrol.txt').read_text() == 'requeue 17\n'


@pytest.mark.parametrize(
    ('code', 'environment'),
    [(3, dict(SLURM_JOB_ID='17')), (75, {})],
)
def test_a_slurm_job_ends_with_its_code(tmp_path, code, environment):
    assert slurm(tmp_path, code, **environment) == code
    assert not (tmp_path / 'scontrol.txt').exists()
    assert '--resume' not in (tmp_path / 'srun.txt').read_text()
